"""Coding long and many streams: chunks, batches, networks made fast."""
