"""Measuring codecs: how much of the speech is left, at how many bits, beside other codecs."""
