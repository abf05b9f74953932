"""The container header (SPEC section 3)."""

from __future__ import annotations

import dataclasses
import enum

from bcdc.errors import (
    BcdcError,
    CorruptError,
    LimitError,
    NotBcdcError,
    TruncatedError,
    UnsupportedError,
)
from bcdc.varint import check16, get_varint, put_varint

MAGIC = b"BCDC"
VERSION = 1
HEADER_BYTES = 18
FINGERPRINT_BYTES = 6
PRIOR_FINGERPRINT_BYTES = 4
MODEL_RATE = 16000
"""Samples per second that tokens are counted at, whatever the file's own rate."""

MAX_EXTENSION_BYTES = 1 << 16
MAX_BLOCK_BYTES = 1 << 24
MAX_CODED_TOKENS = 1 << 16
MAX_RATE = 768_000
_RATE_BITS = 20
MAX_COPIES = 15
MAX_SAMPLES_A_SECOND = 1 << 22
"""Of all channels together: the memory for some seconds of audio has a bound."""
F0_BINS = 154
"""Values of an F0 token: 0 for unvoiced, n above 0 for 55 * 2^((n - 1) / 48) Hz."""
_FLAG_PRIOR, _FLAG_TAGS, _FLAG_GEOMETRY, _FLAG_F0 = 1, 2, 4, 8


class Coder(enum.IntEnum):
    """How the tokens of a block become bytes (SPEC section 6)."""

    RAW = 0
    ADAPTIVE = 2
    PRIOR = 3

    @property
    def needs_prior(self) -> bool:
        """Whether tokens cannot be read without the prior that the header names."""
        return self is Coder.PRIOR

    @property
    def block_units(self) -> int:
        """Length of a block, in `Geometry.block_frames`."""
        return 1 if self is Coder.RAW else 4

    @property
    def run_blocks(self) -> int:
        """Blocks that share a context: to decode one, those of its run before it are needed."""
        return 75 if self is Coder.ADAPTIVE else 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Geometry:
    """Shape of the token stream: `hop` samples at 16 kHz a frame, one token a codebook a frame.

    `f0` says that the tokens of the last codebook, of `F0_BINS` entries, are those of F0
    (SPEC section 3.5).
    """

    hop: int = 200
    codebook_sizes: tuple[int, ...] = (8192,)
    f0: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.hop <= 2 * MODEL_RATE:
            raise ValueError(f"hop must be between 1 and {2 * MODEL_RATE}, not {self.hop}")
        if not 1 <= len(self.codebook_sizes) <= 32:
            raise ValueError("there must be between 1 and 32 codebooks")
        if any(not 2 <= size <= 1 << 16 for size in self.codebook_sizes):
            raise ValueError("codebook sizes must be between 2 and 65536")
        if self.f0 and (self.codebooks < 2 or self.codebook_sizes[-1] != F0_BINS):
            raise ValueError(f"F0 tokens need a codebook of {F0_BINS} entries after another one")

    @property
    def layout(self) -> tuple[int, tuple[int, ...]]:
        """Hop and codebook sizes: all of it that coders and priors know of."""
        return self.hop, self.codebook_sizes

    @property
    def codebooks(self) -> int:
        """Number of codebooks, K."""
        return len(self.codebook_sizes)

    @property
    def token_bits(self) -> tuple[int, ...]:
        """Bits of a raw token of each codebook."""
        return tuple((size - 1).bit_length() for size in self.codebook_sizes)

    @property
    def block_frames(self) -> int:
        """Frames of a full raw block: as many as fit into two seconds."""
        return 2 * MODEL_RATE // self.hop

    def raw_bytes(self, frames: int, channels: int) -> int:
        """Size of `frames` frames of `channels` channels, packed raw."""
        return (frames * channels * sum(self.token_bits) + 7) // 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
    """What a reader must know before the first block.

    `fingerprint` is the first six bytes of the SHA-256 fingerprint of the model,
    `prior_fingerprint` the first four of that of the prior, for the coders that need one. `tags`
    are pairs of a name and a value.

    `channels` are those with tokens of their own. Where it is 1, the recording has `copies` further
    channels that are equal to it (SPEC section 3.7).
    """

    fingerprint: bytes
    sample_rate: int
    channels: int = 1
    geometry: Geometry = Geometry()
    coder: Coder = Coder.RAW
    prior_fingerprint: bytes | None = None
    tags: tuple[tuple[str, str], ...] = ()
    copies: int = 0

    def __post_init__(self) -> None:
        if len(self.fingerprint) != FINGERPRINT_BYTES:
            raise ValueError(f"a model's fingerprint must have {FINGERPRINT_BYTES} bytes")
        if (self.prior_fingerprint is not None) != self.coder.needs_prior:
            raise ValueError("the coders that need a prior must name it, and no others")
        if self.prior_fingerprint and len(self.prior_fingerprint) != PRIOR_FINGERPRINT_BYTES:
            raise ValueError(f"a prior's fingerprint must have {PRIOR_FINGERPRINT_BYTES} bytes")
        if not 1 <= self.sample_rate <= MAX_RATE:
            raise ValueError(f"sample rate must be between 1 and {MAX_RATE}")
        if not 1 <= self.channels <= 255:
            raise ValueError("channels must be between 1 and 255")
        if not 0 <= self.copies <= (MAX_COPIES if self.channels == 1 else 0):
            raise ValueError(f"up to {MAX_COPIES} channels can be equal to one, if it is the only")
        if self.sample_rate * self.restored_channels > MAX_SAMPLES_A_SECOND:
            raise ValueError("there are too many channels for the sample rate")
        if not block_fits(self.geometry, self.channels, self.coder):
            raise ValueError("a block of this geometry would be too large")

    @property
    def restored_channels(self) -> int:
        """Channels of the recording."""
        return self.channels + self.copies

    @property
    def block_frames(self) -> int:
        """Frames of a full block."""
        return self.geometry.block_frames * self.coder.block_units

    @property
    def full_block_bytes(self) -> int:
        """Size of a full block, packed raw: no payload is larger."""
        return self.raw_bytes(self.block_frames)

    def raw_bytes(self, frames: int) -> int:
        """Size of a block of `frames` frames, packed raw."""
        return self.geometry.raw_bytes(frames, self.channels)

    def model_samples(self, samples: int) -> int:
        """Samples at 16 kHz that `samples` samples at the file's rate become (SPEC section 5.2)."""
        return -(-samples * MODEL_RATE // self.sample_rate)

    def frames_of(self, samples: int) -> int:
        """Frames that `samples` samples at the file's rate take (SPEC section 5.2)."""
        return -(-self.model_samples(samples) // self.geometry.hop)


def block_fits(geometry: Geometry, channels: int, coder: Coder) -> bool:
    """Whether a full block keeps to the limits of SPEC section 10."""
    frames = geometry.block_frames * coder.block_units
    tokens = frames * channels * geometry.codebooks
    small = coder is Coder.RAW or tokens <= MAX_CODED_TOKENS
    return small and geometry.raw_bytes(frames, channels) <= MAX_BLOCK_BYTES


def write_header(header: Header) -> bytes:
    """The bytes of a header: 18, and its extension where it has one.

    Raises:
        ValueError: the tags are too long.
    """
    extension, flags = _write_extension(header)
    checked = bytes([VERSION, flags | header.coder << 4]) + header.fingerprint
    rate = header.sample_rate | header.copies << _RATE_BITS
    checked += rate.to_bytes(3, "little") + bytes([header.channels])
    fixed = MAGIC + check16(checked) + checked
    if not flags:
        return fixed
    if len(extension) > MAX_EXTENSION_BYTES:
        raise ValueError("the tags are too long for a container")
    return fixed + put_varint(len(extension)) + extension + check16(extension)


def read_header(data: bytes) -> tuple[Header, int]:
    """The header at the start of `data`, and the offset of what follows it.

    Raises:
        NotBcdcError, TruncatedError, CorruptError, UnsupportedError, LimitError: tested in the
            order magic, checksum, version, coder, structure.
    """
    check_start(data)
    if len(data) < HEADER_BYTES:
        raise TruncatedError("the data end inside the header")
    checked = data[6:HEADER_BYTES]
    if check16(checked) != data[4:6]:
        raise CorruptError("the header is damaged: its checksum does not match")
    if checked[0] != VERSION:
        raise UnsupportedError(f"container version {checked[0]} is not this reader's, {VERSION}")
    flags, coder = checked[1] & 15, checked[1] >> 4
    if coder not in Coder.__members__.values():
        raise UnsupportedError(f"the tokens are coded by coder {coder}, unknown to this reader")
    extension, end = _read_extension_bytes(data) if flags else (b"", HEADER_BYTES)
    fields = _parse_extension(extension, flags)
    numbers = _Numbers(int.from_bytes(checked[8:11], "little"), checked[11])
    return _build(fields, checked[2:8], numbers, Coder(coder)), end


def check_start(data: bytes) -> None:
    """Whether data can be a container, from at least their first four bytes.

    Raises:
        NotBcdcError: they cannot.
    """
    if data[:4] != MAGIC[: len(data)] or not data:
        raise NotBcdcError("not a .bcdc file: it does not start with BCDC")


class _Numbers:
    """What the four bytes of rate and channels hold: `rate`, `channels`, `copies`."""

    def __init__(self, field: int, channels: int) -> None:
        self.rate, self.copies = field % (1 << _RATE_BITS), field >> _RATE_BITS
        self.channels = channels


def _build(fields: _Extension, fingerprint: bytes, numbers: _Numbers, coder: Coder) -> Header:
    rate, channels, copies = numbers.rate, numbers.channels, numbers.copies
    if not rate or not channels:
        raise CorruptError("the header declares no channels or a sample rate of 0")
    if rate > MAX_RATE:
        raise LimitError(f"the header declares {rate} Hz, above the limit of {MAX_RATE}")
    if copies and channels != 1:
        raise CorruptError("the header declares channels equal to the only one, which it is not")
    total = channels + copies
    if rate * total > MAX_SAMPLES_A_SECOND:
        raise LimitError(
            f"{total} channels of {rate} Hz are above the limit of 2^22 samples a second"
        )
    if (fields.prior is not None) != coder.needs_prior:
        raise CorruptError("the header names a prior without need, or none where one is needed")
    if not block_fits(fields.geometry, channels, coder):
        raise LimitError("a full block would be above 16 MiB, or above the limit of tokens")
    return Header(
        fingerprint=fingerprint,
        sample_rate=rate,
        channels=channels,
        geometry=fields.geometry,
        coder=coder,
        prior_fingerprint=fields.prior,
        tags=fields.tags,
        copies=copies,
    )


@dataclasses.dataclass(frozen=True)
class _Extension:
    geometry: Geometry
    prior: bytes | None
    tags: tuple[tuple[str, str], ...]


def _write_extension(header: Header) -> tuple[bytes, int]:
    parts, flags = b"", 0
    if header.geometry != Geometry():
        flags |= _FLAG_GEOMETRY
        parts += put_varint(header.geometry.hop) + bytes([header.geometry.codebooks])
        parts += b"".join(put_varint(size) for size in header.geometry.codebook_sizes)
    if header.geometry.f0:
        flags |= _FLAG_F0
    if header.prior_fingerprint is not None:
        flags |= _FLAG_PRIOR
        parts += header.prior_fingerprint
    if header.tags:
        flags |= _FLAG_TAGS
        for text in (text for pair in header.tags for text in pair):
            encoded = text.encode()
            parts += put_varint(len(encoded)) + encoded
    return parts, flags


def _read_extension_bytes(data: bytes) -> tuple[bytes, int]:
    size, start = get_varint(data, HEADER_BYTES)
    if size > MAX_EXTENSION_BYTES:
        raise LimitError(f"the header extension declares {size} bytes, above the limit of 65536")
    end = start + size
    if len(data) < end + 2:
        raise TruncatedError("the data end inside the header extension")
    if check16(data[start:end]) != data[end : end + 2]:
        raise CorruptError("the header extension is damaged: its checksum does not match")
    return data[start:end], end + 2


def _parse_extension(data: bytes, flags: int) -> _Extension:
    """Fields of an extension whose checksum is right: anything odd in it is corruption."""
    try:
        return _parse_fields(data, flags)
    except BcdcError as error:
        raise CorruptError(f"the header extension is malformed: {error}") from error
    except ValueError as error:
        raise CorruptError(f"the header extension is malformed: {error}") from error


def _parse_fields(data: bytes, flags: int) -> _Extension:
    (geometry, at), prior = _parse_geometry(data, flags), None
    if flags & _FLAG_PRIOR:
        prior = data[at : at + PRIOR_FINGERPRINT_BYTES]
        at += PRIOR_FINGERPRINT_BYTES
        if len(prior) < PRIOR_FINGERPRINT_BYTES:
            raise ValueError("it ends inside the prior's fingerprint")
    texts: list[str] = []
    while flags & _FLAG_TAGS and (at < len(data) or not texts):
        size, at = get_varint(data, at)
        if at + size > len(data):
            raise ValueError("it ends inside a tag")
        texts.append(data[at : at + size].decode())
        at += size
    if at != len(data) or len(texts) % 2:
        raise ValueError("its length does not fit its fields")
    return _Extension(geometry, prior, tuple(zip(texts[::2], texts[1::2], strict=True)))


def _parse_geometry(data: bytes, flags: int) -> tuple[Geometry, int]:
    f0 = bool(flags & _FLAG_F0)
    if not flags & _FLAG_GEOMETRY:
        return Geometry(f0=f0), 0
    hop, at = get_varint(data, 0)
    if at >= len(data):
        raise ValueError("it ends inside the geometry")
    count, at = data[at], at + 1
    sizes: list[int] = []
    for _ in range(count):
        size, at = get_varint(data, at)
        sizes.append(size)
    geometry = Geometry(hop=hop, codebook_sizes=tuple(sizes), f0=f0)
    if geometry == Geometry():
        raise ValueError("the default geometry is spelled out")
    return geometry, at
