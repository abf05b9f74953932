"""Compiled code for what torch is slow at, loaded where it is needed."""
