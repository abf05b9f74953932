"""Audio files as they lie on the disk: which bytes hold audio, and whether all of it is there."""
