"""Reports: what a run found, as one HTML file that needs nothing else. Knows Jinja2; never torch.

`content` says what a report holds, `render` writes it; `anomalae.reports.collect` fills it from a run.
"""
