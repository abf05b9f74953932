"""The flag of F0 tokens in the header (SPEC section 3.5), which changes nothing in how tokens are
coded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bcdc
from bcdc.header import read_header, write_header
from bcdc.varint import check16, put_varint

HERE = Path(__file__).parent
MODEL = bytes.fromhex("0123456789ab")
CODED = bcdc.Geometry(codebook_sizes=(1024, 154), f0=True)
PLAIN = dataclasses.replace(CODED, f0=False)
HEADER = bcdc.Header(fingerprint=MODEL, sample_rate=16000, geometry=CODED)


def raw_header(flags: int, extension: bytes) -> bytes:
    """A header with these flags and this extension, both checksums right."""
    checked = bytes([1, flags]) + MODEL + (16000).to_bytes(3, "little") + b"\1"
    body = put_varint(len(extension)) + extension + check16(extension)
    return b"BCDC" + check16(checked) + checked + body


def geometry_bytes(*sizes: int) -> bytes:
    return put_varint(200) + bytes([len(sizes)]) + b"".join(map(put_varint, sizes))


def stored(header: bcdc.Header, tokens: bcdc.Tokens, prior: bcdc.Prior | None = None) -> bytes:
    return bcdc.write(header, tokens, tokens.shape[1] * header.geometry.hop, prior)


def test_golden_header() -> None:
    """A flag and nothing else, beside the geometry that it is about."""
    data = write_header(HEADER)
    assert (
        data[7:]
        == bytes.fromhex(
            "0c"
            + "0123456789ab"
            + "803e00"
            + "01"  # raw, flags geometry and F0; 16 kHz, one channel
            "07" + "c801" + "02" + "8008" + "9a01"  # extension: hop 200; 1024 and 154 entries
        )
        + check16(data[19:26])
    )
    assert read_header(data) == (HEADER, len(data))
    plain = write_header(dataclasses.replace(HEADER, geometry=PLAIN))
    assert plain[7] == 4 and plain[8:] == data[8:]
    assert read_header(plain)[0].geometry == PLAIN != CODED


@pytest.mark.parametrize("sizes", [(154,), (8192,), (154, 1024), (1024, 153), (1024, 154, 155)])
def test_f0_tokens_have_a_last_codebook_of_154_entries_beside_another(
    sizes: tuple[int, ...],
) -> None:
    with pytest.raises(ValueError, match="F0 tokens need a codebook of 154 entries"):
        bcdc.Geometry(codebook_sizes=sizes, f0=True)
    with pytest.raises(bcdc.CorruptError, match="F0 tokens need a codebook of 154 entries"):
        read_header(raw_header(8 | 4, geometry_bytes(*sizes)))


@pytest.mark.parametrize(
    ("flags", "extension"),
    [
        (8, b""),  # of the default geometry
        (8, geometry_bytes(1024, 154)),  # a geometry that no flag announces
        (8 | 2, b"\1a\1b"),
        (8 | 4, b""),
        (8 | 4, geometry_bytes(1024, 154)[:-1]),
        (8 | 4, geometry_bytes(1024, 154) + b"\0"),
        (8 | 4 | 1, geometry_bytes(1024, 154) + b"1234"),  # raw needs no prior
        (15, geometry_bytes(1024, 154) + b"1234"),
    ],
)
def test_what_else_cannot_be_is_corrupt(flags: int, extension: bytes) -> None:
    with pytest.raises(bcdc.CorruptError):
        read_header(raw_header(flags, extension))


def test_what_is_checked_before_it_still_is() -> None:
    """Magic, checksum, version, coder; only then the flag, of an extension that is whole."""
    bad = raw_header(8 | 4, geometry_bytes(154))
    with pytest.raises(bcdc.NotBcdcError):
        read_header(b"RIFF" + bad[4:])
    with pytest.raises(bcdc.CorruptError, match="header is damaged: its checksum"):
        read_header(bad[:7] + bytes([bad[7] ^ 8]) + bad[8:])
    for at, value in ((6, 2), (7, 0x4C)):
        changed = bad[:at] + bytes([value]) + bad[at + 1 :]
        with pytest.raises(bcdc.UnsupportedError):
            read_header(changed[:4] + check16(changed[6:18]) + changed[6:])
    with pytest.raises(bcdc.TruncatedError):
        read_header(bad[:-1])
    with pytest.raises(bcdc.CorruptError, match="extension is damaged: its checksum"):
        read_header(bad[:-1] + bytes([bad[-1] ^ 1]))


@pytest.mark.parametrize("coder", bcdc.Coder)
def test_tokens_are_coded_as_without_it(
    toy_prior: Callable[..., bcdc.Prior], coder: bcdc.Coder
) -> None:
    """By the same prior, whose file says nothing of F0, to the same payloads."""
    prior = toy_prior(CODED)
    assert prior.fingerprint == toy_prior(PLAIN).fingerprint and not prior.geometry.f0
    steps = np.random.default_rng(2).integers(-3, 4, (1, 700, 2))
    tokens = (steps.cumsum(axis=1) % [1024, 154]).astype(np.int32)
    used, payloads = prior if coder.needs_prior else None, []
    for geometry in (CODED, PLAIN):
        header = bcdc.header_for(dataclasses.replace(HEADER, geometry=geometry), coder, prior)
        data = stored(header, tokens, used)
        container = bcdc.read(data)
        assert container.header == header and container.header.geometry.f0 == geometry.f0
        assert np.array_equal(container.tokens(prior=used), tokens)
        payloads.append([data[block.start : block.end] for block in container.blocks])
    assert payloads[0] == payloads[1]


@pytest.mark.parametrize("sizes", [(1024,), (1024, 153), (1024, 154, 154)])
def test_a_prior_of_another_layout_does_not_fit(
    toy_prior: Callable[..., bcdc.Prior], sizes: tuple[int, ...]
) -> None:
    prior = toy_prior(bcdc.Geometry(codebook_sizes=sizes))
    with pytest.raises(ValueError, match="of another model"):
        bcdc.header_for(HEADER, bcdc.Coder.PRIOR, prior)


def test_the_golden_file_reads_back() -> None:
    data = (HERE / "golden" / "f0.bcdc").read_bytes()
    container = bcdc.read(data)
    geometry = container.header.geometry
    assert geometry == bcdc.Geometry(hop=1600, codebook_sizes=(300, 154), f0=True)
    rows = (HERE / "golden" / "tokens.txt").read_text().splitlines()
    tokens = np.array([row.split() for row in rows], dtype=np.int32).reshape(2, 190, 2)
    assert np.array_equal(container.tokens(), tokens)
    assert stored(container.header, tokens) == data
