"""Reading audio from bytes, for the tests of every format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bigcodec_models.audio.audio_file import AudioFile, Samples


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], tuple[Samples, str | None]]:
    """A function that gives the samples (n, channels) of a file with some content, and what is
    said of the rest."""

    def read_bytes(content: bytes) -> tuple[Samples, str | None]:
        path = tmp_path / "audio"
        path.write_bytes(content)
        with AudioFile(path) as file:
            blocks = list(file.blocks())
            samples = np.concatenate([np.zeros((0, file.channels), np.float32), *blocks])
            assert file.frames in (None, len(samples)) or file.fault is not None
            return samples, file.fault

    return read_bytes
