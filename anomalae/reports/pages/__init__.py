"""Pages of reports: content written as HTML that needs nothing else. Knows Jinja; never torch."""
