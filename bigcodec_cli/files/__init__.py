"""Which files a command works on, and how its outputs come into being."""
