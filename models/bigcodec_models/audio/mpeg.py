"""MPEG audio, MP3 above all: frames one after the other, and tags (ISO 11172-3, 13818-3; ID3v2.4).

A file of this format does not declare its length, except in the Xing or Info frame that many
encoders put first. So the frames are counted.
"""

from __future__ import annotations

import dataclasses
import io
import struct

from bigcodec_models.audio.content import Content
from bigcodec_models.audio.layout import Layout, Part
from bigcodec_models.audio.tags import (
    APE_BYTES,
    ID3V1_BYTES,
    LONGEST_APE_ITEMS,
    LONGEST_LYRICS,
    LYRICS_MARK,
    after_ape_items,
    after_id3v2,
    after_lyrics,
    before_tags,
)

# Bit rates in kbit/s by index, for MPEG 1 layers 1 to 3 and MPEG 2 layers 1 and 2 or 3.
_RATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_SLACK_FRAMES = 3
"""As many may be missing in what is decoded: those that begin with bits of frames before them."""
_VBRI_PLACE = 36
_LEAST_CLAIM = 2 * ID3V1_BYTES
_JUNK_BYTES, _MOST_JUNK = 1 << 12, 1 << 20
"""How much is searched at a time, and after how much the rest of the file is given up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Frame:
    """The header of a frame: its length in bytes, how many of them the side information has, and
    the samples a channel it stands for. `kind` is version, layer, sample rate and whether mono."""

    size: int
    side_bytes: int
    samples: int
    kind: tuple[int, int, int, bool]


@dataclasses.dataclass(kw_only=True)
class _Run:
    """Frames in a row from byte `at` on, which tags may precede from byte `start` on.

    `declared` is the number of frames of which the Xing or Info frame speaks that begins them,
    None if there is none; `trimmed` are the samples that the decoder leaves out, as it says.
    `vbri` is the same of a VBRI frame. `longest` is the size of its longest frame, and `end` the
    byte after the last one.
    """

    start: int
    at: int
    frame: _Frame
    declared: int | None
    trimmed: int
    vbri: int | None = None
    counted: int = 0
    longest: int = 0
    end: int = 0


def examine_mpeg(content: Content) -> Layout | None:
    """The layout of an MP3 file, a part for each of several joined ones; None for other files."""
    at = _after_id3v2(content, 0)
    if at == 0 and _frame_at(content, 0) is None:
        return None
    walk = _Walk(content, before_tags(content, at, len(content), zeros=0))
    while at < walk.stop:
        at = walk.step(at)
    return walk.layout() if walk.runs else None


class _Walk:
    """Goes from frame to frame of a file, up to the tags at byte `stop` that end it, and notes
    where parts begin and what is amiss."""

    def __init__(self, content: Content, stop: int) -> None:
        self._content, self.stop = content, stop
        self.runs: list[_Run] = []
        self._tagged: int | None = 0  # where the tags begin that stand before the next frame
        self._junk, self._is_cut = 0, False

    def step(self, at: int) -> int:
        """Pass over what begins at a byte; returns where the next begins."""
        content = self._content
        frame = _frame_at(content, at)
        if frame is None or not self._goes_on(at, frame):
            return self._pass_tag(at)
        if at + frame.size > self.stop:
            self._is_cut = True
            return self.stop
        self._count(at, frame)
        return at + frame.size

    def _count(self, at: int, frame: _Frame) -> None:
        """Add a frame to the last run, or begin another with it."""
        declared, trimmed = _declaration(self._content, at, frame)
        vbri = _vbri_frames(self._content, at, frame) if declared is None else None
        last = self.runs[-1] if self.runs else None
        is_new = (
            last is None
            or self._tagged is not None
            or declared is not None
            or vbri is not None
            or frame.kind != last.frame.kind
            or (last.declared is not None and last.counted >= last.declared)
        )
        if last is None or is_new:
            start = at if self._tagged is None else self._tagged
            last = _Run(start=start, at=at, frame=frame, declared=declared, trimmed=trimmed)
            self.runs.append(last)
            last.vbri = vbri
        last.counted += declared is None and vbri is None
        last.longest, last.end = max(last.longest, frame.size), at + frame.size
        self._tagged = None

    def layout(self) -> Layout:
        """What was noted."""
        runs = self._long_runs()
        stops = [*(run.start for run in runs[1:]), len(self._content)]
        parts = (self._part(run, stop) for run, stop in zip(runs, stops, strict=True))
        return Layout(parts=tuple(parts), fault=self._fault())

    def _long_runs(self) -> list[_Run]:
        """Without those of a few frames more than a Xing or Info frame declares: encoders that
        count wrongly, and decoders that need what comes before."""
        runs = self.runs[:1]
        for run in self.runs[1:]:
            is_rest = runs[-1].declared is not None and run.declared is None
            is_same = run.frame.kind == runs[-1].frame.kind
            if not is_rest or not is_same or run.counted > _SLACK_FRAMES:
                runs.append(run)
        return runs

    def _part(self, run: _Run, stop: int) -> Part:
        samples = run.frame.samples
        least = max((run.counted - _SLACK_FRAMES) * samples - run.trimmed, 0)
        if run.declared is not None:
            return Part(start=run.start, stop=stop, least=least)
        if run.frame.kind[1] == 3:
            prefix = _info_frame(self._content, run)
            start = run.at + (run.frame.size if run.vbri is not None else 0)
            return Part(start=start, stop=stop, prefix=prefix, least=least)
        # The decoder, told that more is to come, would fail at whatever is no frame.
        claim = max((run.counted + _SLACK_FRAMES) * run.longest - (run.end - run.at), _LEAST_CLAIM)
        return Part(start=run.start, stop=run.end, claim=claim, least=least)

    def _fault(self) -> str | None:
        for run in self.runs:
            if run.declared is not None and run.counted < run.declared:
                return f"was cut short: {run.counted} of its {run.declared} frames are there"
            if run.vbri is not None and run.counted < run.vbri - 1:
                return f"was cut short: {run.counted} of its {run.vbri} frames are there"
        if self._is_cut:
            return "was cut short: its last frame is not complete"
        if self._junk:
            return f"has {self._junk} bytes that are not MP3 audio and are not read"
        return None

    def _goes_on(self, at: int, frame: _Frame) -> bool:
        """Whether what looks like a frame is none by accident: another, a tag or zeros follow it.

        Where it is of another kind than those before it, the next one is of that kind too. One of
        the same kind just behind another needs no such proof.
        """
        content, after = self._content, at + frame.size
        last = self.runs[-1] if self.runs else None
        if after >= self.stop or (last and (at, frame.kind) == (last.end, last.frame.kind)):
            return True
        start, follower = content.part(after, 8), _frame_at(content, after)
        is_same = last is None or frame.kind == last.frame.kind
        return (
            (follower is not None and (is_same or follower.kind == frame.kind))
            or start[:3] in (b"ID3", b"TAG")
            or start in (b"APETAGEX", b"LYRICSBE")
            or not start.strip(b"\0")
            or len(start) < 4
            or after_ape_items(content.part(after, LONGEST_APE_ITEMS)) > 0
        )

    def _pass_tag(self, at: int) -> int:
        content = self._content
        after = _after_id3v2(content, at)
        if after > at:
            self._tagged = at if self._tagged is None else self._tagged
            return after
        start = content.part(at, 8)
        if start[:3] == b"TAG":
            return at + ID3V1_BYTES
        if start == b"APETAGEX":
            header = content.part(at, APE_BYTES).ljust(APE_BYTES, b"\0")
            size, flags = struct.unpack_from("<I4xI", header, 12)
            return at + APE_BYTES + (int(size) if flags & 1 << 29 else 0)
        if content.part(at, len(LYRICS_MARK)) == LYRICS_MARK:
            length = after_lyrics(content.part(at, LONGEST_LYRICS))
            if length:
                return at + length
        if length := after_ape_items(content.part(at, LONGEST_APE_ITEMS)):
            return at + length
        return self._pass_junk(at)

    def _pass_junk(self, at: int) -> int:
        """The next byte with which a frame or a tag can begin; zeros are padding and no fault."""
        piece = self._content.part(at, min(_JUNK_BYTES, self.stop - at))
        places = [place for mark in b"\xffIATL" if (place := piece.find(mark, 1)) > 0]
        length = min(places, default=len(piece))
        self._junk += length - piece.count(b"\0", 0, length)
        return at + length if self._junk <= _MOST_JUNK else self.stop


def _after_id3v2(content: Content, at: int) -> int:
    """The byte after an ID3v2 tag, or `at` if there is none."""
    return min(after_id3v2(content.part(at, 10), at), len(content))


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
    samples = 384 if layer == 1 else 576 if layer == 3 and generation == 2 else 1152
    if layer == 1:
        size = (12 * bits // sample_rate + padding) * 4
    else:
        size = samples // 8 * bits // sample_rate + padding
    side_bytes = (17 if mono else 32) if generation == 1 else (9 if mono else 17)
    kind = (version, layer, sample_rate, mono)
    return _Frame(size=size, side_bytes=side_bytes, samples=samples, kind=kind)


def _declaration(content: Content, at: int, frame: _Frame) -> tuple[int | None, int]:
    """How many frames a Xing or Info frame says will follow it, None if it is none, or silent; and
    how many samples are to be left out, where LAME's extension of it says so."""
    place = at + 4 + frame.side_bytes
    tag = content.part(place, 16 + 104 + 24)
    if tag[:4] not in (b"Xing", b"Info") or frame.size < 60 or len(tag) < 12:
        return None, 0
    flags, frames = struct.unpack_from(">II", tag, 4)
    if not flags & 1:
        return None, 0
    extension = 8 + 4 * (flags & 1) + 2 * (flags & 2) + 25 * (flags & 4) + (flags & 8) // 2
    bits = int.from_bytes(tag[extension + 21 : extension + 24], "big")
    return int(frames), (bits >> 12) + (bits & 0xFFF)


def _vbri_frames(content: Content, at: int, frame: _Frame) -> int | None:
    """How many frames a VBRI frame of Fraunhofer's encoders declares, None if it is none.

    libsndfile takes it for audio. Whether it counts itself, no specification says.
    """
    tag = content.part(at + _VBRI_PLACE, 18)
    if frame.kind[1] != 3 or tag[:4] != b"VBRI" or len(tag) < 18:
        return None
    return int.from_bytes(tag[14:], "big")


def _info_frame(content: Content, run: _Run) -> bytes:
    """An Info frame that says what was counted: libsndfile ends at the length it begins with, and
    that is a guess from the first frames where no such frame precedes them. For layer 3 alone; of
    others a size is claimed that makes the guess large enough."""
    header = bytearray(content.part(run.at, 4))
    header[1] |= 1  # no checksum
    header[2] = 14 << 4 | (header[2] & 0x0C)  # the highest bit rate, to have room
    frame = _frame_at(Content(io.BytesIO(header), 4), 0)
    size = frame.size if frame is not None else 0
    tag = bytes(run.frame.side_bytes) + b"Info" + struct.pack(">II", 1, run.counted)
    return (bytes(header) + tag).ljust(size, b"\0")


def declares_length(content: Content) -> bool:
    """Whether an MP3 file begins with a frame that says how many others follow, and is as long as
    that frame says, where it does."""
    at = _after_id3v2(content, 0)
    frame = _frame_at(content, at)
    if frame is None or _declaration(content, at, frame)[0] is None:
        return False
    flags, _, size = struct.unpack(">III", content.part(at + 4 + frame.side_bytes + 4, 12))
    return not flags & 2 or len(content) - at >= size
