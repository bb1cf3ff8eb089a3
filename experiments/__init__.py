"""Command-line programs: train, evaluate, generate, demo."""
