"""Discriminators for adversarial training.

Every discriminator maps a wave (B, 1, N) in [-1, 1] to one list of feature maps per
sub-discriminator; the last map of a list is the score, the others are for feature matching.

config.py     settings, sizes and presets   waveform.py     of the wave: `mpd`, `msd`
layers.py     their parts                   spectrogram.py  of spectra: `spectral`, `msstft`, `mrd`
registry.py   the class of each kind        constant_q.py   of constant-Q spectra: `mssbcqt`
published.py  names in published files
"""
