"""Training loop, engines, optimizers and checkpoints."""
