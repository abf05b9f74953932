"""The package's boundaries: what it exports, what its specification says."""

from __future__ import annotations

from pathlib import Path

import bcdc

ROOT = Path(__file__).parents[2]


def test_everything_exported_exists_and_nothing_else_is_public() -> None:
    modules = {path.stem for path in (ROOT / "format" / "bcdc").glob("*.py")}
    visible = {name for name in vars(bcdc) if not name.startswith("_")} - modules
    assert visible == set(bcdc.__all__)
    assert list(bcdc.__all__) == sorted(bcdc.__all__, key=lambda n: (not n.isupper(), n))


def test_specification_and_reader_agree_on_version_and_coders() -> None:
    text = (ROOT / "format" / "SPEC.md").read_text(encoding="utf-8")
    assert f"container, version {bcdc.VERSION}\n" in text
    for coder in bcdc.Coder:
        needs, run = "yes" if coder.needs_prior else "no", coder.run_blocks
        assert f"| {coder.value} | {coder.name.lower()} | {needs} | {run} |" in text
    assert "| 1, 4-15 | none; a reader MUST refuse them as unsupported" in text


def test_every_error_is_of_one_family() -> None:
    names = ("NotBcdc", "Unsupported", "Corrupt", "Truncated", "Limit", "MissingPrior", "Prior")
    for name in names:
        assert issubclass(getattr(bcdc, f"{name}Error"), bcdc.BcdcError)
