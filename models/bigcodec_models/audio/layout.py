"""What the examination of an audio file's bytes gives."""

from __future__ import annotations

import dataclasses

from bigcodec_models.audio.content import Content


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Bytes `start` to `stop` of a file, that are decoded by themselves, after a `prefix` that is
    not in the file. At least `least` samples a channel come of them, if nothing is missing. The
    decoder is told that there are `claim` bytes more, where it takes the size for the length."""

    start: int
    stop: int
    prefix: bytes = b""
    claim: int = 0
    least: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Parts of a file that are decoded one after the other.

    `fault` says what of the audio is missing or cannot be read, None if nothing is. `correction`
    is a place in the file and bytes that belong there, where a size in its header is wrong.
    """

    parts: tuple[Part, ...]
    fault: str | None = None
    correction: tuple[int, bytes] | None = None

    @property
    def is_simple(self) -> bool:
        """Whether nothing but a part of the file is to be decoded, as it is."""
        first = self.parts[0]
        is_changed = bool(first.prefix) or first.claim > 0 or self.correction is not None
        return len(self.parts) == 1 and not is_changed


def whole(content: Content, fault: str | None = None) -> Layout:
    """The layout of a file with one part."""
    return Layout(parts=(Part(start=0, stop=len(content)),), fault=fault)
