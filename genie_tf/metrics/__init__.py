"""Measures of what Genie learns: import each from its own module."""
