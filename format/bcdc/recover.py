"""What can be restored of a damaged or truncated container (SPEC section 9.1).

A block is trusted by its checksum where the blocks before it lead to it, and elsewhere only if the
next block or the end confirms it; the length of the recording only by the checksum of the trailer.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from bcdc.block_coder import Coding
from bcdc.block_search import BlockSearch
from bcdc.blocks import END_CODE, is_short
from bcdc.errors import BcdcError, CorruptError, LimitError, NotBcdcError, TruncatedError
from bcdc.header import HEADER_BYTES, MAGIC, MODEL_RATE, Coder, Header, check_start, read_header
from bcdc.prior_file import Prior
from bcdc.reader import MAX_FRAMES, Block, Trailer, read_trailer
from bcdc.tokens import Tokens
from bcdc.varint import check16, get_varint

_MAX_REPAIRED = 64
"""Longest header or extension in which one damaged byte is searched for."""
_MAX_TOKENS = 1 << 25
"""Tokens that are restored at once: 100 hours of one channel. A block of a few bytes may stand for
millions."""
_AT_ONCE = 64
_MAX_TRIED = 1 << 12
"""Tokens of a block whose number of frames is found by trying: it is decoded a dozen times."""
_MAX_TRAILER = 1 << 10
"""Longest trailer in which one damaged bit is searched for: that of 4000 blocks or more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Salvage:
    """What is left of a container.

    `blocks` are the whole ones, by number. `num_samples` and `frames` are those that the trailer
    declares, or, if it is lost (`has_trailer`), those that the blocks are sure to have. `last` is
    then a short block after them of which it is not known how many frames it has. `header_repaired`
    means that one damaged byte of the header was restored, which the trailer confirms.
    """

    header: Header
    num_samples: int
    frames: int
    blocks: dict[int, Block] = dataclasses.field(repr=False)
    last: Block | None
    has_trailer: bool
    header_repaired: bool
    data: bytes = dataclasses.field(repr=False)

    @property
    def whole_frames(self) -> int:
        """The most frames of a channel that `decode` decodes."""
        blocks = len(self.blocks) + (self.last is not None)
        return blocks * self.header.block_frames

    def decode(self, prior: Prior | None = None) -> Restored:
        """Tokens of the blocks that are whole and do not need one that is not.

        Raises:
            MissingPriorError: the tokens are coded with a prior, and `prior` is not it.
            CorruptError: the prior that the header names is of another model.
            LimitError: there are too many tokens to hold at once.
        """
        end = self._decode_last(prior)
        frames, samples = self.frames + end.shape[1], self.num_samples
        if end.shape[1]:
            samples = _samples_of(self.header, frames)
        shape = (self.header.channels, frames, self.header.geometry.codebooks)
        if math.prod(shape) > _MAX_TOKENS:
            raise LimitError(f"what is left declares {math.prod(shape)} tokens, too many at once")
        tokens, whole = np.zeros(shape, np.int32), list[tuple[int, int]]()
        for start, decoded in [*self._decoded(prior), (self.frames, end)]:
            stop = start + decoded.shape[1]
            tokens[:, start:stop] = decoded
            whole.append((start, stop))
        lost = _gaps(whole, frames)
        for start, stop in lost:
            if start:
                tokens[:, start:stop] = tokens[:, start - 1 : start]
        return Restored(
            header=self.header,
            num_samples=samples,
            frames=frames,
            lost=lost,
            has_trailer=self.has_trailer,
            table=tokens,
        )

    def _decode_last(self, prior: Prior | None) -> Tokens:
        """The frames (channels, n, codebooks) that the block `last` is sure to have.

        What follows a frame only makes the number that the range coder writes more exact. So no
        fewer frames than the fewest that code to the whole payload can be in it.
        """
        header, block = self.header, self.last
        nothing = np.zeros((header.channels, 0, header.geometry.codebooks), np.int32)
        if block is None or header.channels > 1 or block.index % header.coder.run_blocks:
            return nothing  # the frames of a channel, or the context, are not known
        if header.block_frames * header.geometry.codebooks > _MAX_TRIED:
            return nothing
        payload = self.data[block.start : block.end]
        if header.raw_bytes(_least_frames(header, len(payload))) == len(payload):
            return nothing  # it may be that many frames, packed raw

        def first(frames: int) -> Tokens:
            return Coding(header, prior).decode([payload], frames)[0]

        def impossible_or_whole(frames: int) -> bool:
            try:
                return Coding(header, prior).encode_coded([first(frames)]) == [payload]
            except CorruptError:
                return True

        counts = range(header.block_frames)
        count = bisect.bisect_left(counts, True, key=impossible_or_whole)
        try:
            return first(count) if count in counts else nothing
        except CorruptError:
            return nothing

    def _decoded(self, prior: Prior | None) -> Iterator[tuple[int, Tokens]]:
        """First frame and tokens (channels, frames, codebooks) of each whole block, in order."""
        full, run = self.header.block_frames, self.header.coder.run_blocks
        coding, expected = Coding(self.header, prior), 0
        for first, last in self._stretches():
            if run > 1 and first % run and first != expected:
                continue  # what it needs for its context is lost
            if run > 1 and first % run == 0:
                coding = Coding(self.header, prior)
            for index, tokens in self._decode(coding, first, last):
                yield index * full, tokens
                expected = index + 1

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Runs of whole blocks of one length, short enough to be decoded side by side."""
        step = _AT_ONCE if self.header.coder.run_blocks == 1 else 1
        count = -(-self.frames // self.header.block_frames)
        first = 0
        for index in range(count + 1):
            gap = index == count or index not in self.blocks
            if gap or index == count - 1 or index - first == step:
                if first < index:
                    yield first, index
                first = index + 1 if gap else index

    def _decode(self, coding: Coding, first: int, last: int) -> Iterator[tuple[int, Tokens]]:
        full = self.header.block_frames
        frames = min(full, self.frames - first * full)
        spans = [self.blocks[index] for index in range(first, last)]
        payloads = [self.data[block.start : block.end] for block in spans]
        try:
            yield from enumerate(coding.decode(payloads, frames), first)
        except CorruptError:
            if last - first > 1:
                for index in range(first, last):
                    yield from self._decode(coding, index, index + 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restored:
    """Tokens of a damaged container. `lost` are the ranges of frames that are gone; in `table`
    (channels, frames, codebooks) the frame before them stands in for them. Without a trailer
    (`has_trailer`) more may have followed."""

    header: Header
    num_samples: int
    frames: int
    lost: tuple[tuple[int, int], ...]
    has_trailer: bool
    table: Tokens = dataclasses.field(repr=False)

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.num_samples / self.header.sample_rate

    @property
    def whole_frames(self) -> int:
        """Frames of a channel that are not lost."""
        return self.frames - sum(stop - start for start, stop in self.lost)

    def tokens(self, first: int = 0, last: int | None = None, prior: Prior | None = None) -> Tokens:
        """Tokens of frames `first` up to but not including `last`; they need no prior any more."""
        return self.table[:, first:last]


def salvage(data: bytes) -> Salvage:
    """Find everything that is whole in the bytes of a container.

    Raises:
        BcdcError: the header is not that of a container, or is damaged beyond repair.
    """
    for start in _starts(data):
        salvaged = _salvage(data, start)
        if salvaged.has_trailer or not start.repaired:
            return salvaged
    read_header(data)  # raises the error that describes it
    raise CorruptError("the header is damaged beyond repair")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Start:
    """Header and extension, put right where that was needed, and their bytes."""

    header: Header
    stored: bytes
    repaired: bool


def _salvage(data: bytes, start: _Start) -> Salvage:
    header, first = start.header, len(start.stored)
    trailer, stop = _find_trailer(data, start)
    known = None if trailer is None else header.frames_of(trailer.samples)
    search = BlockSearch(data, header, len(data) if stop is None else stop, known)
    blocks = {block.index: block for block in search.run(first)}
    last = blocks[max(blocks)] if blocks else None
    if trailer is None and not start.repaired:
        trailer = _trailer_at(data[first if last is None else last.end :], last, start)
    frames = samples = 0
    if trailer is not None:
        frames, samples, last = header.frames_of(trailer.samples), trailer.samples, None
    elif last is not None:
        more, coded = _frames_of_last(header, last)
        frames = last.index * header.block_frames + (more or 0)
        samples = _samples_of(header, frames)
        if more is None:
            del blocks[last.index]
        last = last if coded else None
    return Salvage(
        header=header,
        num_samples=samples,
        frames=frames,
        blocks=blocks,
        last=last,
        has_trailer=trailer is not None,
        header_repaired=start.repaired,
        data=data,
    )


def _blocks_of(header: Header, samples: int) -> int:
    return -(-header.frames_of(samples) // header.block_frames)


def _frames_of_last(header: Header, last: Block) -> tuple[int | None, bool]:
    """The frames that the last block is sure to have, as far as its checksum and its length tell;
    and whether, these not telling it, its payload may."""
    if not last.short:
        return header.block_frames, False
    size = last.end - last.start
    if header.coder is Coder.RAW or size == header.full_block_bytes:
        return _raw_frames(header, size), False
    return None, True


def _least_frames(header: Header, size: int) -> int:
    """The fewest frames whose tokens, packed raw, fill `size` bytes."""
    bits = header.channels * sum(header.geometry.token_bits)
    return min(header.block_frames, 8 * (size - 1) // bits + 1) if size else 0


def _raw_frames(header: Header, size: int) -> int | None:
    """Frames of one channel that are sure to be in `size` bytes of a short block, packed raw; of
    more channels, whose frames follow each other, their number, or None if it is not sure."""
    frames, most = _least_frames(header, size), header.block_frames - 1
    if frames > most or header.raw_bytes(frames) != size:
        return None
    more = frames < most and header.raw_bytes(frames + 1) == size
    return None if more and header.channels > 1 else frames


def _gaps(whole: list[tuple[int, int]], frames: int) -> tuple[tuple[int, int], ...]:
    """What ranges in order leave out of so many frames."""
    ends, starts = [0, *(stop for _, stop in whole)], [*(start for start, _ in whole), frames]
    return tuple((a, b) for a, b in zip(ends, starts, strict=True) if a < b)


def _samples_of(header: Header, frames: int) -> int:
    """The most samples that `frames` frames hold."""
    return frames * header.geometry.hop * header.sample_rate // MODEL_RATE


def _starts(data: bytes) -> Iterator[_Start]:
    """Every header and extension the data may begin with."""
    if data[:4] != MAGIC and data[4:6] != check16(data[6:HEADER_BYTES]):
        check_start(data)
    try:
        header, first = read_header(data)
        yield _Start(header=header, stored=data[:first], repaired=False)
        return
    except (CorruptError, TruncatedError, NotBcdcError):
        pass
    fixed = MAGIC + data[4:HEADER_BYTES]
    if len(fixed) < HEADER_BYTES:
        raise TruncatedError("the data end inside the header")
    for candidate in _repairs(fixed, 6, HEADER_BYTES, 4):
        rest = data[HEADER_BYTES:]
        try:
            yield _repaired(candidate + rest)
        except CorruptError:
            yield from _extensions(candidate, rest)
        except BcdcError:
            continue


def _repaired(data: bytes) -> _Start:
    header, first = read_header(data)
    return _Start(header=header, stored=data[:first], repaired=True)


def _extensions(fixed: bytes, rest: bytes) -> Iterator[_Start]:
    """Headers whose extension has one damaged byte."""
    try:
        size, start = get_varint(rest, 0)
    except BcdcError:
        return
    stop = start + size
    if size > _MAX_REPAIRED or stop + 2 > len(rest):
        return
    for extension in _repairs(rest[: stop + 2], start, stop, stop):
        try:
            yield _repaired(fixed + extension)
        except BcdcError:
            continue


def _repairs(data: bytes, start: int, stop: int, check: int) -> Iterator[bytes]:
    """`data` with one byte between `start` and `stop`, or the checksum at `check`, corrected."""
    stored = data[check : check + 2]
    if check16(data[start:stop]) == stored:
        yield data
        return
    whole = bytearray(data)
    for at in range(start, stop):
        for value in range(256):
            whole[at] = value
            if check16(bytes(whole[start:stop])) == stored:
                yield bytes(whole)
        whole[at] = data[at]
    whole[check : check + 2] = check16(data[start:stop])
    yield bytes(whole)


def _find_trailer(data: bytes, start: _Start) -> tuple[Trailer | None, int | None]:
    """The trailer at the end of the data, and the offset of its end code; None if it is not
    whole."""
    end, first = len(data) - 4, len(start.stored)
    try:
        length, digits = get_varint(data[max(first, end - 8) : end][::-1], 0)
        at = end - digits - length
        if at <= first or data[at - 1] != END_CODE:
            return None, None
        samples, _ = get_varint(data, at)
        if start.header.frames_of(samples) > MAX_FRAMES:
            return None, None
        trailer = read_trailer(data, at, _blocks_of(start.header, samples), start.stored)
    except BcdcError:
        return None, None
    return (trailer, at - 1) if trailer.end == len(data) else (None, None)


def _trailer_at(data: bytes, last: Block | None, start: _Start) -> Trailer | None:
    """The trailer that follows the last block, whatever follows it, or with one bit put right."""
    whole = _trailer_of(data, last, start)
    if whole is not None or len(data) > _MAX_TRAILER:
        return whole
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        trailer = _trailer_of(bytes(changed), last, start)
        if trailer is not None and trailer.end == len(data):
            return trailer
    return None


def _trailer_of(data: bytes, last: Block | None, start: _Start) -> Trailer | None:
    if data[:1] != bytes([END_CODE]):
        return None
    try:
        trailer = read_trailer(data, 1, 0 if last is None else last.index + 1, start.stored)
    except BcdcError:
        return None
    return trailer if _ends_with(start.header, trailer.samples, last) else None


def _ends_with(header: Header, samples: int, last: Block | None) -> bool:
    """Whether that is the last block of so many samples, by its number and by whether it is
    short."""
    if last is None:
        return samples == 0
    frames = header.frames_of(samples)
    short = is_short(last.index, frames, header.block_frames)
    return _blocks_of(header, samples) == last.index + 1 and last.short == short
