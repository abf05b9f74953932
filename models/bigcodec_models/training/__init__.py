"""Training: configuration, the loop and its checkpoints."""
