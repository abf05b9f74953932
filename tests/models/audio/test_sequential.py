"""Sound files read through libsndfile: errors of the system, and what libraries print."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bigcodec_models.audio.audio_file import AudioFile
from bigcodec_models.audio.sequential import SequentialFile, silent_decoders
from bigcodec_models.data.crops import read_mono
from bigcodec_models.data.index import scan

RATE = 16000


class FailingSource(io.BytesIO):
    """A WAV file that cannot be read beyond a byte."""

    def __init__(self, content: bytes, readable: int) -> None:
        super().__init__(content)
        self.error: OSError | None = None
        self._readable = readable

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        place = self.tell()
        if place >= self._readable:
            self.error = OSError(errno.EIO, os.strerror(errno.EIO))
            return 0
        return super().readinto(memoryview(buffer)[: self._readable - place])


@pytest.mark.parametrize("readable", [44, 1044, 20044])
def test_what_can_be_read_comes_before_the_error(readable: int) -> None:
    out = io.BytesIO()
    samples = np.random.default_rng(0).uniform(-1, 1, 16000).astype(np.float32)
    soundfile.write(out, samples, RATE, format="WAV", subtype="PCM_16")
    blocks = []
    with SequentialFile(FailingSource(out.getvalue(), readable)) as file:  # noqa: SIM117
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            while len(block := file.read(1024)):
                blocks.append(block)
    count = (readable - 44) // 2
    assert sum(map(len, blocks)) == count
    assert np.allclose(np.concatenate([np.zeros(0), *blocks]), samples[:count], atol=1e-4)


def test_a_source_that_cannot_be_opened_raises_its_error() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        SequentialFile(FailingSource(bytes(100), 0))


@pytest.fixture
def warned_of(tmp_path: Path) -> Path:
    """An MP3 file cut short, for which libmpg123 prints a warning."""
    wave = np.random.default_rng(1).uniform(-0.1, 0.1, 5 * RATE)
    soundfile.write(tmp_path / "a.mp3", wave, RATE)
    content = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(content[: len(content) // 2])
    return tmp_path / "a.mp3"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere they print")
def test_decoders_print_nothing(warned_of: Path, capfd: pytest.CaptureFixture[str]) -> None:
    soundfile.read(warned_of)
    assert "Xing stream size" in capfd.readouterr().err  # or else this shows nothing
    with AudioFile(warned_of) as file:
        assert sum(map(len, file.blocks())) and file.fault
    (clip,) = scan(warned_of.parent)
    assert len(read_mono(clip))
    with silent_decoders(), silent_decoders():
        soundfile.read(warned_of)
        print("from Python", file=sys.stderr)
    assert capfd.readouterr().err == "from Python\n"
    soundfile.read(warned_of)
    assert "Xing stream size" in capfd.readouterr().err
