"""Native FLAC (RFC 9639), one stream or several in a row."""

from __future__ import annotations

from bigcodec_models.audio.content import Content
from bigcodec_models.audio.layout import Layout, joined

_MARKER = b"fLaC"
_STREAMINFO = (b"\x00\x00\x00\x22", b"\x80\x00\x00\x22")
"""The header of STREAMINFO, which is the first block and always 34 bytes long."""


def examine_flac(content: Content) -> Layout | None:
    """The layout of a FLAC file, a part for each stream; None for other files.

    Whether a stream is complete shows when it is decoded: it declares its samples, or the decoder
    stops at a broken frame.
    """
    starts, at = list[int](), 0
    while (at := content.find(_MARKER, at)) >= 0:
        if content.part(at + 4, 4) in _STREAMINFO:
            starts.append(at)
        at += 4
    if not starts:
        return None
    return Layout(parts=joined([0, *starts[1:]], len(content)))
