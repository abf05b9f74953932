"""Random crops of real audio, each a function of the seed, the step and nothing else."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from bigcodec_models.config import SAMPLE_RATE

Wave = npt.NDArray[np.float32]

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".w64", ".caf"})

_CROP_PEAK = 0.99
_DEFAULT_CACHE_BYTES = 2 << 30


class DataError(Exception):
    """The training data are missing or unusable; the message says which and why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """One audio file: its path, length in frames and sample rate in hertz."""

    path: Path
    frames: int
    rate: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.frames / self.rate


def scan(root: Path, skipped: Callable[[Path, str], None] | None = None) -> list[Clip]:
    """Every readable audio file under `root`, in order of path.

    `skipped` is told of each file with an audio suffix that cannot be read, and why.

    Raises:
        DataError: `root` is no folder, or holds no readable audio.
    """
    if not root.is_dir():
        raise DataError(f"{root}: not a folder")
    clips: list[Clip] = []
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES):
        try:
            info = soundfile.info(str(path))
        except (soundfile.LibsndfileError, OSError) as error:
            if skipped is not None:
                skipped(path, str(error))
            continue
        if info.frames > 0 and info.samplerate > 0:
            clips.append(Clip(path=path, frames=info.frames, rate=info.samplerate))
    if not clips:
        raise DataError(f"{root}: no readable audio files")
    return clips


class CropSource:
    """Batches of random crops, clips drawn in proportion to their duration.

    Decoded clips that fit in `cache_bytes` stay in memory as 16-bit samples; beyond that each
    crop is read by seeking.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        crop: int,
        seed: int,
        gain_db: float = 0.0,
        cache_bytes: int = _DEFAULT_CACHE_BYTES,
    ) -> None:
        if not clips:
            raise DataError("no clips to draw from")
        self._clips = list(clips)
        self._ends = np.cumsum([clip.seconds for clip in clips])
        self._crop, self._seed, self._gain_db = crop, seed, gain_db
        self._cache: dict[int, npt.NDArray[np.int16]] = {}
        self._cache_left = cache_bytes

    def batch(self, step: int, size: int) -> Wave:
        """Crops (size, crop) for one step, float32 in [-1, 1]."""
        return np.stack([self._draw(step, item) for item in range(size)])

    def batches(self, first_step: int, size: int) -> Generator[Wave, None, None]:
        """Batches from `first_step` on without end, the next one read while one is used."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            step = first_step
            pending = pool.submit(self.batch, step, size)
            while True:
                ready = pending.result()
                step += 1
                pending = pool.submit(self.batch, step, size)
                yield ready

    def _draw(self, step: int, item: int) -> Wave:
        random = np.random.default_rng((self._seed, step, item))
        point = random.random() * self._ends[-1]
        index = int(np.searchsorted(self._ends, point, side="right"))
        wave = self._read(min(index, len(self._clips) - 1), random.random())
        gain = 10 ** (random.uniform(-self._gain_db, self._gain_db) / 20)
        peak = float(np.abs(wave).max(initial=0.0))
        scale = min(gain, _CROP_PEAK / max(peak, 1e-9))
        return np.asarray(wave * scale, dtype=np.float32)

    def _read(self, index: int, position: float) -> Wave:
        """A crop of clip `index`, starting at fraction `position` of where it can start."""
        clip = self._clips[index]
        whole = self._whole(index, clip)
        if whole is not None:
            start = int(position * max(0, len(whole) - self._crop + 1))
            piece: Wave = (whole[start : start + self._crop] / 32767).astype(np.float32)
        else:
            wanted = -(-self._crop * clip.rate // SAMPLE_RATE)
            start = int(position * max(0, clip.frames - wanted + 1))
            piece = read_mono(clip, start, wanted)[: self._crop]
        return np.pad(piece, (0, self._crop - len(piece)))

    def _whole(self, index: int, clip: Clip) -> npt.NDArray[np.int16] | None:
        if index not in self._cache:
            size = 2 * (int(clip.seconds * SAMPLE_RATE) + 1)
            if size > self._cache_left:
                return None
            self._cache_left -= size
            wave = read_mono(clip, 0, clip.frames)
            self._cache[index] = np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16)
        return self._cache[index]


def read_mono(clip: Clip, start: int, frames: int) -> Wave:
    """Samples of a clip from frame `start`, channels averaged, resampled to 16 kHz.

    Raises:
        DataError: the file has changed or become unreadable since it was scanned.
    """
    try:
        samples, rate = soundfile.read(
            str(clip.path), frames, start, dtype="float32", always_2d=True
        )
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"{clip.path}: {error}") from error
    mono = samples.mean(axis=1, dtype=np.float32)
    if rate == SAMPLE_RATE:
        return np.asarray(mono, dtype=np.float32)
    return np.asarray(soxr.resample(mono, rate, SAMPLE_RATE), dtype=np.float32)
