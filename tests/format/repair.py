"""Makes every checksum of a changed container right again, so that what lies behind is reached.

Used by test_damage.py, tests/vectors/make_vectors.py and fuzz/fuzz_container.py. It knows the
layout of SPEC sections 3 to 5 and trusts nothing: whatever it is given, it gives bytes.
"""

from __future__ import annotations

import zlib

import bcdc
from bcdc.blocks import (
    CHECK_BYTES,
    END_CODE,
    is_short,
    payload_size,
    seek_table,
    stored_block,
    trailer_check,
)
from bcdc.header import Header, read_header, write_header
from bcdc.varint import check16, get_varint, put_varint

_EXTENSION_FLAGS = 15


def repaired(data: bytes) -> bytes:
    """`data` with the checksums of header, extension and every block, and a trailer that fits.

    Where the header is impossible only the checksums whose place is known are put right.
    """
    try:
        header, at = read_header(whole := with_header_checks(data))
    except bcdc.BcdcError:
        return with_trailer_check(with_header_checks(data))
    payloads, end = _payloads(whole, at, header.full_block_bytes)
    return with_trailer_check(whole[:at] + _body(header, payloads, whole[end:]) + bytes(4))


def with_header_checks(data: bytes) -> bytes:
    """`data` with the magic, and the checksums of the header and its extension."""
    fixed = bytearray(b"BCDC" + data[4:].ljust(14, b"\0"))
    fixed[4:6] = check16(bytes(fixed[6:18]))
    if fixed[7] & _EXTENSION_FLAGS:
        try:
            size, start = get_varint(bytes(fixed), 18)
        except bcdc.BcdcError:
            return bytes(fixed)
        if start + size + 2 <= len(fixed):
            end = start + size
            fixed[end : end + 2] = check16(bytes(fixed[start:end]))
    return bytes(fixed)


def with_last_check(data: bytes) -> bytes:
    """`data`, a prior, with their last four bytes the CRC-32 of those before."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def with_trailer_check(data: bytes) -> bytes:
    """`data`, a container, with their last four bytes the CRC-32 of header and trailer."""
    first = _header_end(data)
    try:
        at = _payloads(data, first, read_header(data)[0].full_block_bytes)[1]
    except bcdc.BcdcError:
        at = first
    return data[:-4] + trailer_check(data[:first], data[at:-4])


def _header_end(data: bytes) -> int:
    """The offset after header and extension, as far as it can be known."""
    if len(data) < bcdc.HEADER_BYTES or not data[7] & _EXTENSION_FLAGS:
        return bcdc.HEADER_BYTES
    try:
        size, start = get_varint(data, bcdc.HEADER_BYTES)
    except bcdc.BcdcError:
        return bcdc.HEADER_BYTES
    return start + size + 2


def _payloads(data: bytes, at: int, full: int) -> tuple[list[bytes], int]:
    """Payloads of the blocks from an offset on, whatever their checksums, and the blocks' end."""
    payloads = list[bytes]()
    while at < len(data) and data[at] != END_CODE:
        try:
            size, start = payload_size(data, at, full)
        except bcdc.BcdcError:
            break
        end = start + CHECK_BYTES + size
        if end > len(data):
            break
        payloads.append(data[start + CHECK_BYTES : end])
        at = end
    return payloads, at


def _body(header: Header, payloads: list[bytes], rest: bytes) -> bytes:
    """Blocks and trailer; the old trailer `rest` tells samples and entropy where they can be."""
    try:
        samples, at = get_varint(rest, 1)
    except bcdc.BcdcError:
        samples, at = 0, len(rest)
    full = header.block_frames
    if -(-header.frames_of(samples) // full) != len(payloads):
        samples = _samples(header, len(payloads) * full)
    frames, size = header.frames_of(samples), header.full_block_bytes
    blocks = [
        stored_block(payload, number, size, is_short(number, frames, full))
        for number, payload in enumerate(payloads)
    ]
    body = put_varint(min(samples, (1 << 56) - 1)) + rest[at : at + 2].ljust(2, b"\0")
    body += b"".join(put_varint(size) for size in seek_table([len(block) for block in blocks]))
    return b"".join(blocks) + bytes([END_CODE]) + body + put_varint(len(body))[::-1]


def _samples(header: Header, frames: int) -> int:
    """The most samples at the file's rate that take no more than `frames` frames."""
    return frames * header.geometry.hop * header.sample_rate // bcdc.MODEL_RATE


def with_payloads(header: Header, payloads: list[bytes], samples: int) -> bytes:
    """A container of the given payloads, whatever they stand for, in which all else is right;
    samples that do not fit the number of blocks are replaced."""
    cut = [data[: header.full_block_bytes] for data in payloads]
    body = _body(header, cut, b"\0" + put_varint(samples))
    return with_trailer_check(write_header(header) + body + bytes(4))
