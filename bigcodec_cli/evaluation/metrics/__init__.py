"""The metrics, and the statistics of their values."""
