"""Prior files: what goes in comes out, and anything else is refused (SPEC section 8)."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bcdc

GOOD = (Path(__file__).parent / "golden" / "toy.bcdp").read_bytes()
SIZES_AT = 11
"""Offset of the hop, the codebooks and the sizes of the network."""


def with_checksum(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def test_it_names_itself_and_its_model() -> None:
    prior = bcdc.read_prior(GOOD)
    assert prior.fingerprint == hashlib.sha256(GOOD).digest()
    assert prior.name == prior.fingerprint[:4]
    assert prior.model == bytes.fromhex("0123456789ab")
    assert prior.geometry == bcdc.Geometry(hop=1600, codebook_sizes=(300, 5))
    assert prior.network.width == 12


def test_groups_cover_every_codebook(toy_prior: Callable[..., bcdc.Prior]) -> None:
    for size in (2, 3, 4, 5, 300, 8192):
        (grouping,) = toy_prior(bcdc.Geometry(codebook_sizes=(size,))).groupings
        assert (grouping.groups - 1) * grouping.members < size <= grouping.groups * grouping.members
        assert grouping.groups >= 2
        assert np.array_equal(grouping.tokens(grouping.place), np.arange(size))


@pytest.mark.parametrize("data", [b"", b"BCDC" + GOOD[4:], b"BCD", GOOD[1:]])
def test_other_files_are_not_priors(data: bytes) -> None:
    with pytest.raises(bcdc.PriorError, match="not a prior file"):
        bcdc.read_prior(data)


def test_newer_versions_are_refused() -> None:
    with pytest.raises(bcdc.PriorError, match="newer version"):
        bcdc.read_prior(with_checksum(GOOD[:4] + b"\x02" + GOOD[5:-4]))


def test_every_cut_and_every_addition_is_refused() -> None:
    for length in (*range(5, 40), len(GOOD) - 5, len(GOOD) - 1):
        with pytest.raises(bcdc.PriorError, match="damaged"):
            bcdc.read_prior(GOOD[:length])
    with pytest.raises(bcdc.PriorError, match="damaged"):
        bcdc.read_prior(GOOD + b"\0")


def test_damage_is_refused() -> None:
    for at in range(5, len(GOOD), 97):
        with pytest.raises(bcdc.PriorError):
            bcdc.read_prior(GOOD[:at] + bytes([GOOD[at] ^ 8]) + GOOD[at + 1 :])


@pytest.mark.parametrize(
    "sizes",
    [
        "c00c02ac0205" + "8108" + "0c05",  # 1025 inputs
        "c00c02ac0205" + "ffffffffffff7f" + "0c05",  # 2^49 inputs: refused before allocation
        "c00c02ac0205" + "000c05",  # a network without inputs
        "c00c02ac0205" + "000000",  # no network
        "c00c02ac0201" + "060c05",  # a codebook of one entry
        "c00c00" + "060c05",  # no codebook
        "0002ac0205" + "060c05",  # hop 0
    ],
)
def test_impossible_sizes_are_refused(sizes: str) -> None:
    assert GOOD[SIZES_AT:].startswith(bytes.fromhex("c00c02ac0205060c05"))
    body = GOOD[:SIZES_AT] + bytes.fromhex(sizes) + GOOD[SIZES_AT + 9 : -4]
    with pytest.raises(bcdc.PriorError, match="damaged"):
        bcdc.read_prior(with_checksum(body))


def test_an_order_that_is_no_permutation_is_refused() -> None:
    at = SIZES_AT + 9
    body = GOOD[:at] + GOOD[at + 2 : at + 4] + GOOD[at + 2 : -4]
    with pytest.raises(bcdc.PriorError, match="permutation"):
        bcdc.read_prior(with_checksum(body))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(5, 60), st.integers(0, 255)), max_size=6))
def test_any_header_gives_a_prior_or_our_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD[:-4])
    for at, value in changes:
        data[at] = value
    try:
        bcdc.read_prior(with_checksum(bytes(data)))
    except bcdc.PriorError:
        return


def test_arrays_that_do_not_fit_are_the_callers_fault() -> None:
    geometry = bcdc.Geometry(codebook_sizes=(4,))
    shape = bcdc.PriorShape(model=b"abcdef", geometry=geometry, inputs=2, width=3, hidden=2)
    arrays = {name: np.zeros(dims, int) for name, _, dims in shape.arrays()}
    arrays["0.order"] = np.arange(4)
    assert bcdc.read_prior(bcdc.write_prior(shape, arrays)).network.width == 3
    with pytest.raises(ValueError, match="embedding must be"):
        bcdc.write_prior(shape, {**arrays, "embedding": np.zeros((1, 1), int)})
    with pytest.raises(ValueError, match="do not fit"):
        bcdc.write_prior(shape, {**arrays, "embedding": arrays["embedding"] + 128})
    with pytest.raises(ValueError, match="0.order must be"):
        bcdc.write_prior(shape, {})
