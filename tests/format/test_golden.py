"""Committed containers read back, and the same tokens still give their bytes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import bcdc
from bcdc.fixed_point import exp2_table, sigmoid_table, tanh_table

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
TOP = Decimal(32767)
DIGEST = "415d23ee86d7ad5b3b17ff264cf12badadcef34fa477f4d3d2c9167993865bff"


@pytest.fixture(scope="module")
def prior() -> bcdc.Prior:
    return bcdc.read_prior((GOLDEN / "toy.bcdp").read_bytes())


@pytest.fixture(scope="module")
def tokens() -> bcdc.Tokens:
    rows = (GOLDEN / "tokens.txt").read_text().splitlines()
    return np.array([row.split() for row in rows], dtype=np.int32).reshape(2, 190, 2)


@pytest.mark.parametrize("coder", bcdc.Coder)
def test_golden_containers_read_back(
    coder: bcdc.Coder, prior: bcdc.Prior, tokens: bcdc.Tokens
) -> None:
    container = bcdc.read((GOLDEN / f"{coder.name.lower()}.bcdc").read_bytes())
    assert container.header.coder is coder
    assert np.array_equal(container.tokens(prior=prior), tokens)


@pytest.mark.parametrize("coder", bcdc.Coder)
def test_the_same_tokens_still_give_the_golden_bytes(
    coder: bcdc.Coder, prior: bcdc.Prior, tokens: bcdc.Tokens, tmp_path: Path
) -> None:
    data = (GOLDEN / f"{coder.name.lower()}.bcdc").read_bytes()
    header = bcdc.read(data).header
    with (tmp_path / "new").open("wb") as file, bcdc.Writer(file, header, prior) as writer:
        writer.write(tokens)
        writer.finish(190 * 1600)
    assert (tmp_path / "new").read_bytes() == data


def test_tables_are_those_of_the_specification_by_a_wide_margin() -> None:
    """No value is so near to a half that another math library could round it otherwise."""
    steps = [Decimal(i) / 1024 for i in range(-8192, 8192)]
    powers = [Decimal(2) ** (24 - Decimal(i) / 1024) for i in range(1024)]
    margins = [
        _margin(sigmoid_table(), [min(32768 / (1 + (-x).exp()), TOP) for x in steps]),
        _margin(tanh_table(), [min(32768 - 65536 / ((2 * x).exp() + 1), TOP) for x in steps]),
        _margin(exp2_table(), powers),
    ]
    assert min(margins) > Decimal("1e-6")


def _margin(table: npt.NDArray[np.int64], exact: list[Decimal]) -> Decimal:
    """How far the exact values stay from being rounded to anything but the table's."""
    half = Decimal("0.5")
    nearest: list[int] = table.tolist()
    return min(half - abs(x - n) for n, x in zip(nearest, exact, strict=True))


@pytest.mark.parametrize(
    "settings", [{}, {"OPENBLAS_CORETYPE": "plain"}, {"MKL_CBWR": "COMPATIBLE"}]
)
def test_the_bytes_do_not_depend_on_how_matrices_are_multiplied(settings: dict[str, str]) -> None:
    """One block or many at a time, and by whatever the library's oldest code for this kind of
    processor does; the digest is that of every machine."""
    plain = {"x86_64": "Prescott", "AMD64": "Prescott"}.get(platform.machine(), "ARMV8")
    added = {name: plain if value == "plain" else value for name, value in settings.items()}
    result = subprocess.run(
        [sys.executable, HERE / "digest.py"],
        env={**os.environ, **added},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [DIGEST, "False"]
