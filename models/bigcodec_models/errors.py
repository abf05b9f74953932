"""What can go wrong in this package.

    ModelsError
    +-- ConfigError         a setting is malformed or out of range; also a ValueError
    +-- ModelFileError      a model, checkpoint or training state is missing or damaged
    +-- DataError           the training data are missing or unusable
    |   +-- UnreadableError   one audio file that could be read when it was scanned
    +-- FfmpegError         ffmpeg cannot read a file; also an OSError
    |   +-- FfmpegMissingError  it is not on PATH
    +-- TrainingError       training cannot go on
        +-- NonFiniteError    a loss or a gradient is infinite or not a number

Each message is one line that names the cause. Misuse by the caller is `ValueError` or `TypeError`.
Loads no torch.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "ConfigError",
    "DataError",
    "FfmpegError",
    "FfmpegMissingError",
    "ModelFileError",
    "ModelsError",
    "NonFiniteError",
    "TrainingError",
    "UnreadableError",
]


class ModelsError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(ModelsError, ValueError):
    """A configuration is malformed, or asks for something outside the supported range."""


class ModelFileError(ModelsError):
    """A file of weights or of training state is missing, damaged or of another kind."""


class DataError(ModelsError):
    """The training data are missing or unusable."""


class UnreadableError(DataError):
    """An audio file has changed or become unreadable since it was scanned.

    `path` is the file, and `reason` says what is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class FfmpegError(ModelsError, OSError):
    """ffmpeg cannot read a file; the text is one line that says why."""


class FfmpegMissingError(FfmpegError):
    """The program is not on PATH."""


class TrainingError(ModelsError):
    """Training cannot go on. What was trained before the failing step is saved."""


class NonFiniteError(TrainingError):
    """A loss or a gradient is not finite. The step that had it has changed nothing."""
