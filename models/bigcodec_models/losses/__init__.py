"""Losses of generator and discriminators."""
