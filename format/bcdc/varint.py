"""Variable-length integers and checksums (SPEC sections 2.2 and 2.3)."""

from __future__ import annotations

import zlib

from bcdc.errors import CorruptError, TruncatedError

MAX_VARINT = (1 << 56) - 1
_MAX_BYTES = 8


def put_varint(value: int) -> bytes:
    """Base-128, lowest seven bits first, as short as possible. `value` in [0, 2^56)."""
    if not 0 <= value <= MAX_VARINT:
        raise ValueError(f"varint out of range: {value}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def get_varint(data: bytes, at: int) -> tuple[int, int]:
    """Value of the varint at offset `at`, and the offset after it.

    Raises:
        TruncatedError: `data` end inside it.
        CorruptError: it is longer than eight bytes, or than its value needs.
    """
    value = 0
    for count in range(_MAX_BYTES):
        if at + count >= len(data):
            raise TruncatedError("the data end inside a number")
        byte = data[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if byte == 0 and count:
                raise CorruptError("a number is not in its shortest form")
            return value, at + count + 1
    raise CorruptError("a number is too long")


def check16(data: bytes) -> bytes:
    """The low 16 bits of the CRC-32 of four zero bytes and `data`, little-endian."""
    return check32(data, 0)[:2]


def check32(data: bytes, seed: int) -> bytes:
    """The CRC-32 of the four bytes of `seed`, in [0, 2^32), and `data`, little-endian."""
    return zlib.crc32(data, zlib.crc32(seed.to_bytes(4, "little"))).to_bytes(4, "little")
