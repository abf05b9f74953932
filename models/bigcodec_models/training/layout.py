"""Where a run has its checkpoints, and what a portable one is known by. Loads no torch."""

from __future__ import annotations

import re
from pathlib import Path

MANIFEST = "portable.json"
_STEP_FOLDER = re.compile(r"step-(\d{8,})")


def find_checkpoints(run: Path) -> list[Path]:
    """Folders of the complete checkpoints of a run, oldest first."""
    folders = (run / "checkpoints").glob("step-*")
    return sorted((p for p in folders if _STEP_FOLDER.fullmatch(p.name)), key=step_of)


def step_of(folder: Path) -> int:
    """The step of a checkpoint, by the name of its folder."""
    return int(folder.name.removeprefix("step-"))


def is_portable(folder: Path) -> bool:
    """Whether a path is a portable checkpoint."""
    return (folder / MANIFEST).is_file()
