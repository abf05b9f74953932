"""RUN/clips: the clips that a run is validated on, as they were and as the model restores them.

    NN.original.flac   NN.best.flac, of the best validation   NN.last.flac, of the last one
    clips.json         the names of the clips, and the steps of the two validations

Only the first eight are kept.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from bigcodec_cli.audio.pcm import to_int16
from bigcodec_cli.files.atomic import atomic_output
from bigcodec_cli.pages.media import Sound, loudest_magnitude, make_sound
from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.training.events import Validation

FOLDER = "clips"
MOST = 8
_INDEX = "clips.json"


@dataclasses.dataclass(frozen=True)
class RunClip:
    """A clip: its name, and its sounds by what they are."""

    name: str
    sounds: Mapping[str, Sound]


def save_clips(run: Path, validation: Validation) -> None:
    """Keep the clips of a validation.

    Raises:
        OSError: they cannot be written.
    """
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    steps = _read_index(folder).get("steps", {})
    versions = ["last", *(["best"] if validation.best else [])]
    clips = validation.clips[:MOST]
    for number, clip in enumerate(clips, 1):
        _write(folder / f"{number:02}.original.flac", clip.original)
        for version in versions:
            _write(folder / f"{number:02}.{version}.flac", clip.restored)
    index = {
        "names": [clip.name for clip in clips],
        "steps": {**steps, **dict.fromkeys(versions, validation.step)},
    }
    with atomic_output(folder / _INDEX, overwrite=True) as temporary:
        temporary.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def load_clips(run: Path) -> list[RunClip]:
    """The clips of a run; none, where nothing was kept or it cannot be read.

    Where the best validation is the last one, it stands alone.
    """
    folder = run / FOLDER
    index = _read_index(folder)
    steps: dict[str, int] = index.get("steps", {})
    shown = {"original": "original"}
    for version in ("best", "last"):
        if version in steps and (version == "best" or steps.get("best") != steps["last"]):
            shown[version] = f"{version}, step {steps[version]:,}"
    try:
        return [
            _read_clip(folder, number, str(name), shown)
            for number, name in enumerate(index.get("names", []), 1)
        ]
    except (OSError, soundfile.LibsndfileError):
        return []


def _read_clip(folder: Path, number: int, name: str, shown: Mapping[str, str]) -> RunClip:
    waves: dict[str, Wave] = {
        label: soundfile.read(folder / f"{number:02}.{version}.flac", dtype="float32")[0]
        for version, label in shown.items()
    }
    loudest = loudest_magnitude(waves["original"])
    return RunClip(name, {label: make_sound(wave, loudest) for label, wave in waves.items()})


def _read_index(folder: Path) -> dict[str, Any]:
    """The index; empty if it is missing or damaged."""
    try:
        index = json.loads((folder / _INDEX).read_bytes())
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


def _write(path: Path, wave: Wave) -> None:
    with atomic_output(path, overwrite=True) as temporary, temporary.open("wb") as file:
        soundfile.write(
            file, to_int16(np.nan_to_num(wave)), SAMPLE_RATE, format="FLAC", subtype="PCM_16"
        )
