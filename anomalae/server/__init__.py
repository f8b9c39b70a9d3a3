"""A server that judges images by runs which are loaded once. Knows FastAPI; needs the extra `anomalae[serve]`."""
