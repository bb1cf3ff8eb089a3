"""Training: optimizers, engines, checkpoints and the loop."""
