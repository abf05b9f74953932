"""Suffixes by which audio files are recognised in a folder."""

from __future__ import annotations

AUDIO_SUFFIXES = frozenset(
    ".wav .wave .rf64 .w64 .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .caf .au .snd .voc .sph"
    " .nist".split()
)
"""What soundfile reads. Files that are named one by one are read whatever their suffix."""
