"""A second reader of .bcdc files, written from format/SPEC.md alone.

Python's standard library only, and nothing of this project: what it reads as `bcdc` does is in the
specification, not only in one program. It is slow, keeps whole files in memory, and refuses what is
damaged instead of recovering it.
"""
