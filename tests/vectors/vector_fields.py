"""Containers put together from bytes, each with one field that is out of its range, too long, or in
the wrong place, and every checksum right; see make_vectors.py."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from conftest import MODEL, toy_prior_bytes  # type: ignore[import-not-found]
from repair import with_payloads  # type: ignore[import-not-found]
from vector_containers import (  # type: ignore[import-not-found]
    GEOMETRY,
    PLAIN,
    Vector,
    outcome,
    walk,
)

import bcdc
from bcdc.blocks import length_code, stored_block, trailer_check
from bcdc.varint import check16, put_varint

NOTHING = b"\0\0\0"
"""The body of the trailer of no samples: their number, and the entropy."""


def vectors() -> Iterator[Vector]:
    """Those of headers, extensions, trailers and blocks."""
    corrupt, limit = "CorruptError", "LimitError"
    for name, (data, words) in _damaged_headers().items():
        yield f"bad-{name}.bcdc", data, corrupt, words
    for name, (data, words) in _above_limits().items():
        yield f"unsupported-{name}.bcdc", data, limit, words
    for name, (data, words) in _damaged_geometries().items():
        yield f"bad-{name}.bcdc", data, corrupt, words
    for name, (data, words) in {**_damaged_trailers(), **_damaged_blocks()}.items():
        yield f"bad-{name}.bcdc", data, corrupt, words
    yield from _good()


def fixed(*, flags: int = 0, coder: int = 0, rate: int = 16000, channels: int = 1) -> bytes:
    """Bytes 6 to 17 of a header; the number of equal channels is in `rate`, from bit 20 on."""
    start = bytes([1, flags | coder << 4, *MODEL])
    return start + rate.to_bytes(3, "little") + bytes([channels])


def container(
    checked: bytes,
    extension: bytes | None = None,
    *,
    body: bytes = NOTHING,
    blocks: bytes = b"",
    length: bytes | None = None,
    checks: tuple[int, int] = (0, 0),
) -> bytes:
    """A container from its parts. `length` replaces that of the trailer's body, and `checks` are
    added to the checksums of header and extension; the last checksum is right."""
    header = b"BCDC" + _more(check16(checked), checks[0]) + checked
    if extension is not None:
        check = _more(check16(extension), checks[1])
        header += put_varint(len(extension)) + extension + check
    trailer = b"\0" + body + (put_varint(len(body))[::-1] if length is None else length)
    return header + blocks + trailer + bytes(trailer_check(header, trailer))


def _more(check: bytes, difference: int) -> bytes:
    return bytes([check[0] ^ difference]) + check[1:]


def _damaged_headers() -> dict[str, tuple[bytes, str]]:
    tags = fixed(flags=2)
    return {
        "no-rate": (container(fixed(rate=0)), "a sample rate of 0"),
        "no-channels": (container(fixed(channels=0)), "no channels"),
        "header-checksum": (
            container(fixed(), checks=(1, 0)),
            "the header's own checksum, and nothing else, is wrong",
        ),
        "extension-checksum": (
            container(tags, b"\1a\1b", checks=(0, 1)),
            "the extension's own checksum, and nothing else, is wrong",
        ),
        "extension-longer": (
            container(fixed(flags=4), put_varint(16000) + b"\1\5" + b"\0"),
            "a byte in the extension that no field has",
        ),
        "no-tags": (container(tags, b""), "tags declared, none there"),
        "tag-without-value": (container(tags, b"\1a"), "the name of a tag without its value"),
        "tag-too-long": (container(tags, b"\1a\2b"), "a tag ends outside the extension"),
        "f0-without-fields": (
            container(fixed(flags=8), b""),
            "F0 tokens declared, and an extension of no bytes",
        ),
        "no-prior-named": (container(fixed(coder=3)), "coder prior, and no prior named"),
    }


def _above_limits() -> dict[str, tuple[bytes, str]]:
    equal = 768_000 + (5 << 20)
    return {
        "rate": (container(fixed(rate=768_001)), "768001 Hz"),
        "equal-channels": (
            container(fixed(rate=equal)),
            "6 channels at 768 kHz, 5 of them equal to the only one",
        ),
        "channels-and-rate": (
            container(fixed(rate=16_449, channels=255)),
            "255 channels at 16449 Hz: over 2^22",
        ),
    }


def _damaged_geometries() -> dict[str, tuple[bytes, str]]:
    table = {
        "hop-of-0": (0, 1, [5], "a hop of 0"),
        "hop-of-32001": (32001, 1, [5], "a hop of 32001"),
        "no-codebooks": (16000, 0, [], "no codebooks"),
        "33-codebooks": (16000, 33, [5] * 33, "33 codebooks"),
        "codebook-of-one": (16000, 1, [1], "a codebook of one entry"),
        "codebook-of-65537": (16000, 1, [65537], "a codebook of 65537 entries"),
    }
    return {
        name: (
            container(
                fixed(flags=4), put_varint(hop) + bytes([count]) + b"".join(map(put_varint, sizes))
            ),
            words,
        )
        for name, (hop, count, sizes, words) in table.items()
    }


def _damaged_trailers() -> dict[str, tuple[bytes, str]]:
    return {
        "trailer-length": (
            container(fixed(), length=b"\4"),
            "the trailer says that it is a byte longer than it is",
        ),
        "long-varint": (
            container(fixed(), body=b"\x80\0\0\0"),
            "0 samples in a varint of two bytes",
        ),
        "varint-of-nine-bytes": (
            container(fixed(), body=b"\x80" * 8 + b"\1\0\0"),
            "2^56 samples, in a varint of nine bytes",
        ),
    }


def _damaged_blocks() -> dict[str, tuple[bytes, str]]:
    """Of frames of a second, two codebooks of 9 and 3 bits, two frames a block if raw."""
    layout = put_varint(16000) + b"\2" + put_varint(300) + b"\5"
    frame = put_varint(16000) + b"\0\0"
    raw, adaptive = fixed(flags=4), fixed(flags=4, coder=2)
    of_wrong_number = length_code(2, 3) + stored_block(bytes(2), 1, 3, short=True)[1:]
    other = bcdc.read_prior(toy_prior_bytes(GEOMETRY)).name
    named = fixed(flags=5, coder=3)
    named = named[:2] + bytes([named[2] ^ 1]) + named[3:]
    return {
        "short-payload": (
            container(raw, layout, body=frame, blocks=stored_block(b"\0", 0, 3, short=True)),
            "a raw block of one byte, whose tokens take two",
        ),
        "long-payload": (
            container(adaptive, layout, body=frame, blocks=stored_block(bytes(3), 0, 12, True)),
            "a payload longer than its tokens packed raw, though not longer than a full block",
        ),
        "payload-below-0": (
            container(raw, layout, body=frame, blocks=bytes([5]) + bytes(4)),
            "the length of a payload is -1",
        ),
        "block-number": (
            container(raw, layout, body=frame, blocks=of_wrong_number),
            "the only block has the checksum of the second one",
        ),
        "prior-of-another-model": (
            container(
                named,
                layout + other,
                body=frame,
                blocks=stored_block(b"", 0, 12, short=True),
            ),
            "names good-prior.bcdp, which is of another model",
        ),
    }


def _good() -> Iterator[Vector]:
    """What a reader could take for something else."""
    adaptive = bcdc.header_for(PLAIN, bcdc.Coder.ADAPTIVE)
    walking, random = walk(1, 24), np.random.default_rng(4)
    tokens = np.concatenate([walking, random.integers(0, (300, 5), (1, 4, 2))], axis=1)
    tokens = np.concatenate([tokens.astype(np.int32), walking], axis=1)
    yield (
        "good-raw-among-adaptive.bcdc",
        bcdc.write(adaptive, tokens, tokens.shape[1] * 16000),
        outcome(tokens),
        "adaptive, blocks packed raw among coded ones, which learn from them",
    )
    for name, payload, words in (
        ("known-as-new", np.random.default_rng(13).bytes(11), "a token coded as new that is not"),
        (
            "not-shortest",
            _longer(adaptive, np.zeros((1, 8, 2), np.int32)),
            "bytes that no token needs",
        ),
    ):
        data = with_payloads(adaptive, [payload], 8 * 16000)
        what = f"adaptive, a payload that no writer makes: {words}"
        yield f"good-{name}.bcdc", data, outcome(bcdc.read(data).tokens()), what


def _longer(header: bcdc.Header, tokens: bcdc.Tokens) -> bytes:
    """The payload of one block, zeros up to eight bytes, and two bytes that are never needed."""
    (payload,) = bcdc.Coding(header, None).encode([tokens])
    assert len(payload) < 8
    return bytes(payload).ljust(8, b"\0") + b"\xff\xff"
