"""Settings of training runs, one file per experiment."""
