"""Files of weights: those of this project, and published checkpoints."""
