"""Section 3: the header, and the limits of section 10 that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

from .cursor import Cursor, Refused, check16

FIXED_BYTES = 18
RAW, ADAPTIVE, PRIOR = 0, 2, 3
DEFAULT_GEOMETRY = (200, (8192,))
F0_SIZE = 154
HAS_PRIOR, HAS_TAGS, HAS_GEOMETRY, HAS_F0 = 1, 2, 4, 8


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the header says; `length` is its size in bytes, `copies` the number of channels that
    equal the only one, `prior` the start of a fingerprint where the coder needs a prior."""

    length: int
    coder: int
    fingerprint: bytes
    rate: int
    channels: int
    copies: int
    hop: int
    sizes: tuple[int, ...]
    has_f0: bool
    prior: bytes | None
    tags: tuple[tuple[str, str], ...]

    def block_frames(self) -> int:
        """Frames of a full block (section 4)."""
        return 32000 // self.hop * (1 if self.coder == RAW else 4)

    def raw_bytes(self, frames: int) -> int:
        """Bytes of that many frames of all channels, packed raw (section 6.1)."""
        bits = frames * self.channels * sum(bits_of(size) for size in self.sizes)
        return -(-bits // 8)


def bits_of(size: int) -> int:
    """ceil(log2 S): the bits of a token of a codebook of `size` entries."""
    return (size - 1).bit_length()


def read_header(data: bytes) -> Header:
    """The header at the start of a file, checked."""
    if not data or data[:4] != b"BCDC"[: len(data)]:
        raise Refused("foreign", "it does not start with BCDC")
    cursor = Cursor(data)
    cursor.take(4)
    check = cursor.integer(2)
    fixed = Cursor(cursor.take(FIXED_BYTES - 6))
    if check != check16(fixed.data):
        raise Refused("damaged", "checksum of the header")
    if (version := fixed.integer(1)) != 1:
        raise Refused("unsupported", f"version {version}")
    packed = fixed.integer(1)
    flags, coder = packed & 15, packed >> 4
    if coder not in (RAW, ADAPTIVE, PRIOR):
        raise Refused("unsupported", f"coder {coder}")
    fingerprint, field, channels = fixed.take(6), fixed.integer(3), fixed.integer(1)
    hop, sizes, prior, tags = read_extension(cursor, flags)
    header = Header(
        length=cursor.at,
        coder=coder,
        fingerprint=fingerprint,
        rate=field & 0xFFFFF,
        channels=channels,
        copies=field >> 20,
        hop=hop,
        sizes=sizes,
        has_f0=bool(flags & HAS_F0),
        prior=prior,
        tags=tags,
    )
    check_fields(header)
    check_limits(header)
    return header


def check_fields(header: Header) -> None:
    """Refuses fields that contradict each other."""
    if header.rate == 0 or header.channels == 0:
        raise Refused("damaged", "no sample rate, or no channels")
    if header.copies and header.channels != 1:
        raise Refused("damaged", "channels equal to the only one of several")
    if (header.prior is not None) != (header.coder == PRIOR):
        raise Refused("damaged", "a prior without need, or none where one is needed")
    if header.has_f0 and (len(header.sizes) < 2 or header.sizes[-1] != F0_SIZE):
        raise Refused("damaged", "F0 tokens without a codebook for them")


def check_limits(header: Header) -> None:
    """Section 10."""
    if header.rate > 768000 or header.rate * (header.channels + header.copies) > 2**22:
        raise Refused("limit", f"{header.rate} Hz")
    frames = header.block_frames()
    if header.raw_bytes(frames) > 2**24:
        raise Refused("limit", "bytes of a block")
    if header.coder != RAW and frames * header.channels * len(header.sizes) > 2**16:
        raise Refused("limit", "tokens of a block")


Extension = tuple[int, tuple[int, ...], bytes | None, tuple[tuple[str, str], ...]]


def read_extension(cursor: Cursor, flags: int) -> Extension:
    """Hop, sizes of the codebooks, prior and tags; the cursor is moved behind them."""
    if flags == 0:
        return *DEFAULT_GEOMETRY, None, ()
    if (size := cursor.varint()) > 65536:
        raise Refused("limit", f"an extension of {size} bytes")
    content = cursor.take(size)
    if cursor.integer(2) != check16(content):
        raise Refused("damaged", "checksum of the extension")
    fields = Cursor(content, short="damaged")
    hop, sizes = read_geometry(fields) if flags & HAS_GEOMETRY else DEFAULT_GEOMETRY
    prior = fields.take(4) if flags & HAS_PRIOR else None
    tags = read_tags(fields) if flags & HAS_TAGS else ()
    if fields.left():
        raise Refused("damaged", "the extension is longer than its fields")
    return hop, sizes, prior, tags


def read_geometry(fields: Cursor) -> tuple[int, tuple[int, ...]]:
    """Section 3.4."""
    hop, sizes = read_sizes(fields)
    if (hop, sizes) == DEFAULT_GEOMETRY:
        raise Refused("damaged", "the default geometry is spelled out")
    return hop, sizes


def read_sizes(fields: Cursor) -> tuple[int, tuple[int, ...]]:
    """Hop and sizes of the codebooks, within their ranges."""
    hop, books = fields.varint(), fields.integer(1)
    if not (1 <= hop <= 32000 and 1 <= books <= 32):
        raise Refused("damaged", f"a hop of {hop}, {books} codebooks")
    sizes = tuple(fields.varint() for _ in range(books))
    if not all(2 <= size <= 65536 for size in sizes):
        raise Refused("damaged", f"codebooks of {sizes} entries")
    return hop, sizes


def read_tags(fields: Cursor) -> tuple[tuple[str, str], ...]:
    """Section 3.6: pairs up to the end, at least one."""
    tags: list[tuple[str, str]] = []
    while fields.left() or not tags:
        try:
            name, value = (fields.take(fields.varint()).decode() for _ in range(2))
        except UnicodeDecodeError:
            raise Refused("damaged", "a tag is no UTF-8") from None
        tags.append((name, value))
    return tuple(tags)
