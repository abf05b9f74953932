"""What the examination of an audio file's bytes gives."""

from __future__ import annotations

import dataclasses

from bigcodec_models.audio.content import Content


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Parts of a file, from byte to byte, that are decoded one after the other.

    `fault` says what of the audio is missing or cannot be read, None if nothing is. `correction`
    is a place in the file and bytes that belong there, where a size in its header is wrong.
    """

    parts: tuple[tuple[int, int], ...]
    fault: str | None = None
    correction: tuple[int, bytes] | None = None


def whole(content: Content, fault: str | None = None) -> Layout:
    """The layout of a file with one part."""
    return Layout(parts=((0, len(content)),), fault=fault)
