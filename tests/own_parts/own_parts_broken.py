"""A module that cannot be imported."""

raise RuntimeError("no libquux here\nsecond line")
