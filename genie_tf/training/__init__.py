"""Training: optimizers, engines, checkpoints and the training loop."""
