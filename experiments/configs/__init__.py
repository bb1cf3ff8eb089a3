"""Experiment settings, one file per experiment."""
