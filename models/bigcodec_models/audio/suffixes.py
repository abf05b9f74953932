"""Suffixes by which audio files are recognised in a folder."""

from __future__ import annotations

SOUNDFILE_SUFFIXES = frozenset(
    ".wav .wave .rf64 .w64 .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .caf .au .snd .voc .sph"
    " .nist".split()
)
"""What soundfile reads."""
FFMPEG_SUFFIXES = frozenset(
    ".m4a .m4b .aac .amr .awb .3gp .3g2 .webm .weba .mka .wma .asf .wmv .mp4 .m4v .mov .mkv"
    " .avi".split()
)
"""What phones, browsers and cameras record, read through the program ffmpeg."""
AUDIO_SUFFIXES = SOUNDFILE_SUFFIXES | FFMPEG_SUFFIXES
"""Of folders that are walked; files that are named one by one are read whatever their suffix."""
