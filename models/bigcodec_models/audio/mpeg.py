"""MPEG audio, MP3 above all: frames one after the other, and tags (ISO 11172-3, 13818-3; ID3v2.4).

A file of this format does not declare its length, except in the Xing or Info frame that many
encoders put first. So the frames are counted.
"""

from __future__ import annotations

import dataclasses
import struct

from bigcodec_models.audio.content import Content
from bigcodec_models.audio.layout import Layout

# Bit rates in kbit/s by index, for MPEG 1 layers 1 to 3 and MPEG 2 layers 1 and 2 or 3.
_RATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_ID3V1_BYTES, _APE_BYTES = 128, 32
_JUNK_BYTES, _MOST_JUNK = 1 << 12, 1 << 20
"""How much is searched at a time, and after how much the rest of the file is given up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Frame:
    """The header of a frame: its length in bytes, and how many the side information has."""

    size: int
    side_bytes: int


def examine_mpeg(content: Content) -> Layout | None:
    """The layout of an MP3 file, a part for each of several joined ones; None for other files."""
    at = _after_id3v2(content, 0)
    if at == 0 and _frame_at(content, 0) is None:
        return None
    walk = _Walk(content)
    while at < len(content):
        at = walk.step(at)
    return walk.layout() if walk.starts else None


class _Walk:
    """Goes from frame to frame of a file, and notes where parts begin and what is amiss."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self.starts: list[int] = []
        self._declared: list[int | None] = []  # frames, for each part
        self._counted: list[int] = []
        self._tagged: int | None = 0  # where the tags begin that stand before the next frame
        self._junk, self._is_cut = 0, False

    def step(self, at: int) -> int:
        """Pass over what begins at a byte; returns where the next begins."""
        content = self._content
        frame = _frame_at(content, at)
        if frame is None or (at + frame.size < len(content) and not self._goes_on(at + frame.size)):
            return self._pass_tag(at)
        if at + frame.size > len(content):
            self._is_cut = True
            return len(content)
        declared = _declared_frames(content, at, frame)
        if self._tagged is not None or declared is not None or not self.starts:
            self.starts.append(at if self._tagged is None else self._tagged)
            self._declared.append(declared)
            self._counted.append(-1 if declared is not None else 0)
        self._counted[-1] += 1
        self._tagged = None
        return at + frame.size

    def layout(self) -> Layout:
        """What was noted."""
        bounds = zip(self.starts, [*self.starts[1:], len(self._content)], strict=True)
        return Layout(parts=tuple(bounds), fault=self._fault())

    def _fault(self) -> str | None:
        for declared, counted in zip(self._declared, self._counted, strict=True):
            if declared is not None and counted < declared:
                return f"was cut short: {counted} of its {declared} frames are there"
        if self._is_cut:
            return "was cut short: its last frame is not complete"
        if self._junk:
            return f"has {self._junk} bytes that are not MP3 audio and are not read"
        return None

    def _goes_on(self, at: int) -> bool:
        """Whether a frame, a tag or zeros begin at a byte: a frame before it is no accident."""
        content = self._content
        start = content.part(at, 8)
        return (
            _frame_at(content, at) is not None
            or start[:3] in (b"ID3", b"TAG")
            or start in (b"APETAGEX", b"LYRICSBE")
            or not start.strip(b"\0")
            or len(start) < 4
        )

    def _pass_tag(self, at: int) -> int:
        content = self._content
        after = _after_id3v2(content, at)
        if after > at:
            self._tagged = at if self._tagged is None else self._tagged
            return after
        start = content.part(at, 8)
        if start[:3] == b"TAG":
            return at + _ID3V1_BYTES
        if start == b"APETAGEX":
            header = content.part(at, _APE_BYTES).ljust(_APE_BYTES, b"\0")
            size, flags = struct.unpack_from("<I4xI", header, 12)
            return at + _APE_BYTES + (int(size) if flags & 1 << 29 else 0)
        return self._pass_junk(at)

    def _pass_junk(self, at: int) -> int:
        """The next byte with which a frame or a tag can begin; zeros are padding and no fault."""
        piece = self._content.part(at, _JUNK_BYTES)
        places = [place for mark in b"\xffIATL" if (place := piece.find(mark, 1)) > 0]
        length = min(places, default=len(piece))
        self._junk += length - piece.count(b"\0", 0, length)
        return at + length if self._junk <= _MOST_JUNK else len(self._content)


def _after_id3v2(content: Content, at: int) -> int:
    """The byte after an ID3v2 tag, or `at` if there is none."""
    header = content.part(at, 10)
    if len(header) < 10 or header[:3] != b"ID3" or any(byte & 0x80 for byte in header[6:]):
        return at
    size = header[6] << 21 | header[7] << 14 | header[8] << 7 | header[9]
    footer = 10 if header[5] & 0x10 else 0
    return min(at + 10 + size + footer, len(content))


def _frame_at(content: Content, at: int) -> _Frame | None:
    header = content.part(at, 4)
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate_index, sample_index = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or rate_index in (0, 15) or sample_index == 3:
        return None
    padding, mono = header[2] >> 1 & 1, header[3] >> 6 == 3
    generation = 1 if version == 3 else 2
    table = _RATES[generation, layer if generation == 1 else min(layer, 2)]
    bits, sample_rate = 1000 * table[rate_index], _SAMPLE_RATES[version][sample_index]
    if layer == 1:
        size = (12 * bits // sample_rate + padding) * 4
    else:
        samples = 576 if layer == 3 and generation == 2 else 1152
        size = samples // 8 * bits // sample_rate + padding
    side_bytes = (17 if mono else 32) if generation == 1 else (9 if mono else 17)
    return _Frame(size=size, side_bytes=side_bytes)


def _declared_frames(content: Content, at: int, frame: _Frame) -> int | None:
    """How many frames a Xing or Info frame says will follow it; None if it is none, or silent."""
    place = at + 4 + frame.side_bytes
    if content.part(place, 4) not in (b"Xing", b"Info") or frame.size < 60:
        return None
    flags, frames = struct.unpack(">II", content.part(place + 4, 8))
    return int(frames) if flags & 1 else None
