"""What `speed.py` measures, a module a section, and how: rounds in turn, their medians and noise, the table kept."""
