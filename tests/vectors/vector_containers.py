"""The containers and priors among the vectors; see make_vectors.py."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from conftest import MODEL, toy_prior_bytes  # type: ignore[import-not-found]
from repair import (  # type: ignore[import-not-found]
    with_header_checks,
    with_last_check,
    with_payloads,
    with_trailer_check,
)

import bcdc
from bcdc.blocks import block_check, trailer_check
from bcdc.varint import check16, put_varint

Vector = tuple[str, bytes, str, str]
"""Name, content, expected result, and the one thing that is special about it."""

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
GEOMETRY = bcdc.Geometry(hop=16000, codebook_sizes=(300, 5))
WITH_F0 = bcdc.Geometry(hop=16000, codebook_sizes=(300, 154), f0=True)
PLAIN = bcdc.Header(fingerprint=MODEL, sample_rate=16000, geometry=GEOMETRY)


def vectors() -> Iterator[Vector]:
    """All containers and priors."""
    yield from _good()
    yield from _damaged()
    yield from _impossible()
    yield from _unsupported()
    yield from _hostile()
    yield from _priors()


def outcome(tokens: bcdc.Tokens) -> str:
    """The result in the README for tokens (channels, frames, codebooks)."""
    shape = " x ".join(map(str, tokens.shape))
    return f"tokens {shape}, CRC-32 {zlib.crc32(tokens.astype('<i4').tobytes()):08x}"


def walk(channels: int, frames: int, geometry: bcdc.Geometry = GEOMETRY) -> bcdc.Tokens:
    """Tokens (channels, frames, codebooks) that move through their codebooks in small steps."""
    steps = np.random.default_rng(5).integers(-2, 3, (channels, frames, geometry.codebooks))
    wrapped: bcdc.Tokens = (steps.cumsum(axis=1) % geometry.codebook_sizes).astype(np.int32)
    return wrapped


def _toy_prior() -> bcdc.Prior:
    return bcdc.read_prior(toy_prior_bytes(GEOMETRY))


def _good() -> Iterator[Vector]:
    speech = bcdc.Header(fingerprint=MODEL, sample_rate=16000)
    tokens = walk(1, 190, speech.geometry)
    yield (
        "good-raw-mono.bcdc",
        bcdc.write(speech, tokens, 37_999),
        outcome(tokens),
        "two blocks, raw; the default geometry",
    )
    tags = (("title", "Ein Stück"), ("artist", "nobody"), ("comment", ""))
    stereo = dataclasses.replace(PLAIN, channels=2, sample_rate=44100, tags=tags)
    tokens = walk(2, 3)
    yield (
        "good-raw-stereo-tags.bcdc",
        bcdc.write(stereo, tokens, 3 * 44100 - 20_000),
        outcome(tokens),
        "two channels at 44.1 kHz, three tags, one of them empty",
    )
    yield "good-empty.bcdc", bcdc.write(PLAIN, walk(1, 0), 0), outcome(walk(1, 0)), "no samples"
    yield (
        "good-one-sample.bcdc",
        bcdc.write(PLAIN, walk(1, 1), 1),
        outcome(walk(1, 1)),
        "one sample",
    )
    wide, fast = dataclasses.replace(PLAIN, channels=255), dataclasses.replace(PLAIN, channels=5)
    yield (
        "good-most-channels.bcdc",
        bcdc.write(dataclasses.replace(wide, sample_rate=16448), walk(255, 1), 1),
        outcome(walk(255, 1)),
        "255 channels, at the highest rate for so many",
    )
    yield (
        "good-highest-rate.bcdc",
        bcdc.write(dataclasses.replace(fast, sample_rate=768_000), walk(5, 1), 1),
        outcome(walk(5, 1)),
        "768 kHz, the most channels at that rate",
    )
    yield from _good_layouts()
    yield from _good_coded()


def _good_layouts() -> Iterator[Vector]:
    equal = dataclasses.replace(PLAIN, copies=15)
    yield (
        "good-equal-channels.bcdc",
        bcdc.write(equal, walk(1, 5), 5 * 16000),
        outcome(walk(1, 5)),
        "16 equal channels, of which one is coded",
    )
    tokens = walk(1, 80)
    yield (
        "good-seek-table.bcdc",
        bcdc.write(PLAIN, tokens, 80 * 16000),
        outcome(tokens),
        "forty blocks, so that the seek table has two entries",
    )
    pitched = dataclasses.replace(PLAIN, geometry=WITH_F0)
    yield (
        "good-f0.bcdc",
        bcdc.write(pitched, walk(1, 5, WITH_F0), 5 * 16000),
        outcome(walk(1, 5, WITH_F0)),
        "the tokens of the second codebook are F0",
    )


def _good_coded() -> Iterator[Vector]:
    prior, tokens = _toy_prior(), walk(2, 21)
    for coder in (bcdc.Coder.ADAPTIVE, bcdc.Coder.PRIOR):
        header = dataclasses.replace(PLAIN, channels=2)
        header = bcdc.header_for(header, coder, prior)
        used = prior if coder.needs_prior else None
        words = "three blocks, the last short" + (", with good-prior.bcdp" if used else "")
        yield (
            f"good-{coder.name.lower()}.bcdc",
            bcdc.write(header, tokens, 21 * 16000, used),
            outcome(tokens),
            words,
        )
    tokens = walk(1, 8)
    header = dataclasses.replace(PLAIN, coder=bcdc.Coder.ADAPTIVE)
    (raw,) = bcdc.Coding(PLAIN, None).encode([tokens])
    yield (
        "good-block-kept-raw.bcdc",
        with_payloads(header, [raw], 8 * 16000),
        outcome(tokens),
        "adaptive, its only block as long as its tokens packed raw, and so packed",
    )


def _base() -> bytes:
    return bcdc.write(dataclasses.replace(PLAIN, channels=2), walk(2, 12), 12 * 16000)


def _flipped(data: bytes, at: int, bits: int = 4) -> bytes:
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


def _damaged() -> Iterator[Vector]:
    data, corrupt, short = _base(), "CorruptError", "TruncatedError"
    blocks = bcdc.read(data).blocks
    first, second = blocks[:2]
    wave = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\0\0\0"
    yield "bad-nothing.bcdc", b"", "NotBcdcError", "an empty file"
    yield "bad-foreign.bcdc", wave, "NotBcdcError", "a WAV file under our suffix"
    yield "bad-cut-in-header.bcdc", data[:11], short, "eleven bytes"
    yield "bad-cut-in-block.bcdc", data[: second.end - 2], short, "ends inside the second block"
    yield "bad-cut-after-block.bcdc", data[: second.end], short, "ends after the second block"
    yield "bad-cut-in-trailer.bcdc", data[:-1], short, "the last byte is missing"
    yield "bad-bit-in-header.bcdc", _flipped(data, 8), corrupt, "one bit of the fingerprint"
    yield "bad-bit-in-extension.bcdc", _flipped(data, 20), corrupt, "one bit of the geometry"
    yield "bad-bit-in-block.bcdc", _flipped(data, second.start + 1), corrupt, "a bit of a payload"
    yield "bad-last-checksum.bcdc", _flipped(data, len(data) - 1), corrupt, "a bit of the CRC-32"
    yield "bad-trailing-bytes.bcdc", data + b"abc", corrupt, "three bytes follow the end"
    swapped = data[: first.code] + data[second.code : second.end] + data[first.code : first.end]
    yield (
        "bad-blocks-swapped.bcdc",
        with_trailer_check(swapped + data[second.end :]),
        corrupt,
        "two blocks have changed places; the last checksum is right",
    )
    yield (
        "bad-block-missing.bcdc",
        with_trailer_check(data[: blocks[-1].code] + data[blocks[-1].end :]),
        corrupt,
        "the last block is gone; the last checksum is right",
    )


def _impossible() -> Iterator[Vector]:
    """Every checksum is right, and what they cover cannot be."""
    yield from (
        (f"bad-{name}.bcdc", data, "CorruptError", words)
        for rows in (_impossible_payloads(), _impossible_trailers(), _impossible_headers())
        for name, data, words in rows
    )


def _impossible_payloads() -> list[tuple[str, bytes, str]]:
    adaptive = dataclasses.replace(PLAIN, coder=bcdc.Coder.ADAPTIVE)
    by_prior = bcdc.header_for(PLAIN, bcdc.Coder.PRIOR, _toy_prior())
    table = [
        ("token-outside-codebook", PLAIN, b"\xff" * 3, 2, "raw tokens of 511 in a codebook of 300"),
        ("padding", PLAIN, b"\0\1", 1, "the last bit of a raw block, which no token uses, is set"),
        (
            "stands-for-nothing",
            adaptive,
            b"\xff" * 10,
            8,
            "a payload beyond the last symbol of the range coder",
        ),
        (
            "place-of-no-code",
            by_prior,
            b"\xff\xff\xfe",
            8,
            "prior: a place in the last group that no code takes",
        ),
    ]
    return [
        (name, with_payloads(header, [payload], seconds * 16000), words)
        for name, header, payload, seconds, words in table
    ]


def _impossible_trailers() -> list[tuple[str, bytes, str]]:
    first = with_payloads(PLAIN, [bytes(3)], 32000)
    at = bcdc.read(first).blocks[0].end
    body = put_varint(9 * 16000) + bytes(2)
    longer = first[: at + 1] + body + put_varint(len(body)) + bytes(4)
    table = bytearray(bcdc.write(PLAIN, walk(1, 40), 40 * 16000))
    table[-7] ^= 1  # the lower byte of the last entry
    full, short = (bcdc.write(PLAIN, walk(1, n), n * 16000) for n in (4, 3))
    return [
        ("samples", with_trailer_check(longer), "nine seconds declared, one block stored"),
        ("seek-table", with_trailer_check(bytes(table)), "an entry is wrong"),
        (
            "full-as-short",
            _with_last_kind(full, short=True),
            "the last block is full and has the checksum of a short one",
        ),
        (
            "short-as-full",
            _with_last_kind(short, short=False),
            "the last block is short and has the checksum of a full one",
        ),
    ]


def _with_last_kind(data: bytes, short: bool) -> bytes:
    """A container whose last block has the checksum of a short one, or of a full one."""
    last = bcdc.read(data).blocks[-1]
    check = block_check(data[last.start : last.end], last.index, short)
    return data[: last.start - 4] + check + data[last.start :]


def _impossible_headers() -> list[tuple[str, bytes, str]]:
    only_f0 = put_varint(200) + bytes([1]) + put_varint(154)
    return [
        ("tag", _extended(bytes([1, ord("a"), 1, 0xFF]), 2), "a tag is no UTF-8"),
        (
            "geometry",
            _extended(bytes([200, 1, 1, 0x80, 0x40]), 4),
            "the default geometry spelled out",
        ),
        (
            "f0-without-geometry",
            _extended(b"\1a\1b", 8 | 2),
            "F0 tokens declared for the default geometry",
        ),
        ("f0-alone", _extended(only_f0, 8 | 4), "F0 tokens and no others"),
        ("f0-size", _changed(7, b"\x0c"), "F0 tokens in a codebook of 5 entries"),
        ("prior-without-need", _extended(b"1234", 1), "a prior is named and the coder is raw"),
        ("equal-channels", _changed(16, b"\x10\2"), "two channels, and one equal to the only one"),
    ]


def _extended(extension: bytes, flags: int) -> bytes:
    """A file of nothing with an extension, all checksums right."""
    plain = bcdc.Header(fingerprint=MODEL, sample_rate=16000)
    data = bcdc.write(plain, np.zeros((1, 0, 1), np.int32), 0)
    start = data[:7] + bytes([flags]) + data[8:18]
    body = put_varint(len(extension)) + extension + check16(extension)
    container: bytes = with_trailer_check(with_header_checks(start + body) + data[18:])
    return container


def _changed(at: int, new: bytes) -> bytes:
    data = _base()
    return _with_right_checks(data[:at] + new + data[at + len(new) :])


def _with_right_checks(changed: bytes) -> bytes:
    """`_base` with a changed header, and the checksums of header and trailer, whatever it says."""
    blocks = bcdc.read(_base()).blocks
    data: bytes = with_header_checks(changed)[:-4]
    return data + trailer_check(data[: blocks[0].code], data[blocks[-1].end :])


def _unsupported() -> Iterator[Vector]:
    newer, limit = "UnsupportedError", "LimitError"
    yield "unsupported-version.bcdc", _changed(6, b"\2"), newer, "version 2"
    yield "unsupported-coder.bcdc", _changed(7, b"\x74"), newer, "coder 7"
    yield "unsupported-coder-1.bcdc", _changed(7, b"\x14"), newer, "coder 1, which there is not"
    header = dataclasses.replace(PLAIN, coder=bcdc.Coder.PRIOR, prior_fingerprint=b"none")
    yield (
        "unsupported-missing-prior.bcdc",
        with_payloads(header, [b""], 16000),
        "MissingPriorError",
        "undamaged, and its prior is nowhere",
    )
    start = with_header_checks(_base()[:7] + b"\2" + _base()[8:18])
    yield "unsupported-extension.bcdc", start + put_varint(65537), limit, "65537 bytes of tags"
    wide = put_varint(1) + bytes([32]) + put_varint(65536) * 32
    large = _extended(wide, 4)
    large = with_trailer_check(with_header_checks(large[:17] + b"\xff" + large[18:]))
    yield "unsupported-block.bcdc", large, limit, "a block of more than 16 MiB"
    many = bytearray(_extended(put_varint(1) + bytes([32]) + put_varint(2) * 32, 4))
    many[7], many[17] = 4 | bcdc.Coder.ADAPTIVE << 4, 2
    data = with_trailer_check(with_header_checks(bytes(many)))
    yield "unsupported-tokens.bcdc", data, limit, "a coded block of more than 2^16 tokens"
    fine = dataclasses.replace(PLAIN, geometry=bcdc.Geometry(hop=1, codebook_sizes=(2,)))
    nothing = bcdc.write(fine, np.zeros((1, 0, 1), np.int32), 0)
    body = put_varint((1 << 56) - 1) + bytes(2)
    data = with_trailer_check(nothing[:-8] + body + put_varint(len(body)) + bytes(4))
    yield "unsupported-length.bcdc", data, limit, "2^56 - 1 samples declared, none stored"


def _hostile() -> Iterator[Vector]:
    """Much behind few bytes, or nothing at all behind a good start."""
    many = bcdc.Geometry(hop=1600, codebook_sizes=(300, 5))
    header = dataclasses.replace(PLAIN, geometry=many, coder=bcdc.Coder.ADAPTIVE)
    frames = 30 * header.block_frames
    data = with_payloads(header, [b""] * 30, frames * 1600)
    yield (
        "good-empty-payloads.bcdc",
        data,
        outcome(bcdc.read(data).tokens()),
        "adaptive: four minutes in thirty blocks of no bytes",
    )
    data, noise = _base(), np.random.default_rng(6).bytes(2000)
    first, *_, last = bcdc.read(data).blocks
    yield "bad-noise.bcdc", data[: first.code] + noise, "CorruptError", "noise behind a header"
    yield (
        "bad-noise-at-end.bcdc",
        data[: last.end] + noise,
        "CorruptError",
        "noise in place of the trailer",
    )


def _priors() -> Iterator[Vector]:
    toy, bad = toy_prior_bytes(GEOMETRY), "PriorError"
    yield "good-prior.bcdp", toy, "prior", "of the model of the good files; random numbers"
    small = bcdc.Geometry(codebook_sizes=(4,))
    plain = toy_prior_bytes(small)
    yield "good-prior-of-one-codebook.bcdp", plain, "prior", "for a codebook of four entries"
    yield "bad-cut.bcdp", plain[:-9], bad, "cut short"
    yield "bad-bit.bcdp", _flipped(plain, 30), bad, "one bit"
    longer = with_last_check(plain + b"\0")
    yield "bad-trailing-byte.bcdp", longer, bad, "a byte between the arrays and the checksum"
    yield "bad-foreign.bcdp", _base(), bad, "a container under the suffix of priors"
    yield "unsupported-version.bcdp", with_last_check(_flipped(plain, 4, 3)), bad, "version 2"
    start = plain[:11]
    huge = start + put_varint(200) + bytes([1]) + put_varint(65536)
    for name, sizes, words in (
        ("bad-network-claim.bcdp", put_varint((1 << 49) - 1) * 3, "2^49 - 1 inputs"),
        ("bad-size-claim.bcdp", put_varint(1024) * 3, "67 MB of arrays declared, none there"),
        ("bad-half-a-network.bcdp", put_varint(0) + put_varint(4) * 2, "a network of no inputs"),
        ("bad-no-network.bcdp", put_varint(0) * 3, "no network"),
    ):
        yield name, with_last_check(huge + sizes + bytes(4)), bad, words
    at = len(start) + 2 + 1 + 1 + 3
    order = plain[:at] + plain[at + 2 : at + 4] + plain[at + 2 :]
    yield "bad-order.bcdp", with_last_check(order), bad, "an order that is no permutation"
