"""Audio in and out by blocks: reading, writing, resampling, channels."""
