"""Creative Voice files (VOC): blocks with a type and a size.

Source: Creative Labs, "Sound Blaster Developer Kit" (1991), appendix on the VOC format.
"""

from __future__ import annotations

from bigcodec_models.audio.content import Content
from bigcodec_models.audio.layout import Layout, Part, whole

_MAGIC = b"Creative Voice File\x1a"
_END = 0
_SOUND = (1, 2, 3, 9)
"""Types of blocks that hold samples, or stand for silence."""
_LONGEST_PADDING = 16


def examine_voc(content: Content) -> Layout | None:
    """The layout of a VOC file; None for other files. libsndfile reads its first sound alone."""
    if content.part(0, len(_MAGIC)) != _MAGIC:
        return None
    at, stop = int.from_bytes(content.part(20, 2), "little"), 0  # where the first sound ends
    while at + 4 <= len(content) and content[at] != _END:
        kind, size = content[at], int.from_bytes(content.part(at + 1, 3), "little")
        if kind in _SOUND and stop:
            break
        at += 4 + size
        if at > len(content):
            left = size - (at - len(content))
            return _layout(content, f"was cut short: {left} of {size} bytes of a block are there")
        stop = at if kind in _SOUND else stop
    rest = content.part(at, _LONGEST_PADDING + 1)
    if len(rest) > _LONGEST_PADDING or any(rest):
        fault = f"has {len(content) - at} bytes after its audio that are not read"
        return _layout(content, fault)
    return _layout(content, None) if stop else whole(content)


def _layout(content: Content, fault: str | None) -> Layout:
    return Layout(parts=(Part(start=0, stop=len(content), least=1),), fault=fault)
