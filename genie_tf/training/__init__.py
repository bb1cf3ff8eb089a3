"""Training: optimisers, engines, checkpoints and the loop."""
