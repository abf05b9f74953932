"""The second reader on the golden files of tests/format."""

from __future__ import annotations

from pathlib import Path

import pytest

from .container import read_container
from .prior_file import Prior, read_prior
from .tokens import Frame, all_tokens

GOLDEN = Path(__file__).parents[1] / "format" / "golden"
FRAMES = 190


@pytest.fixture(scope="module")
def prior() -> Prior:
    return read_prior((GOLDEN / "toy.bcdp").read_bytes())


@pytest.fixture(scope="module")
def tokens() -> list[list[Frame]]:
    """Two channels of frames of two tokens."""
    rows = (GOLDEN / "tokens.txt").read_text(encoding="utf-8").splitlines()
    flat = [[int(token) for token in row.split()] for row in rows]
    return [list(zip(row[::2], row[1::2], strict=True)) for row in flat]


@pytest.mark.parametrize("name", ["raw", "adaptive", "prior", "f0"])
def test_golden_containers(name: str, prior: Prior, tokens: list[list[Frame]]) -> None:
    container = read_container((GOLDEN / f"{name}.bcdc").read_bytes())
    assert len(tokens[0]) == container.frames == FRAMES
    assert all_tokens(container, [prior]) == tokens
    assert container.header.has_f0 == (name == "f0")
