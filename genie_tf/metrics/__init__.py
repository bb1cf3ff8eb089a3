"""Metrics of Genie models; import each from its module."""
