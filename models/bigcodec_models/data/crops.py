"""Training and validation audio: fixed excerpts and random crops.

All waves are float32 at 16 kHz. A crop depends only on the clips, the options, the seed, the step
and its position in the batch, not on earlier crops or on threads.
"""

from __future__ import annotations

import collections
import concurrent.futures
import itertools
import math
import os
import threading
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from bigcodec_models.arrays import Wave
from bigcodec_models.audio.audio_file import AudioFile
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.data.index import (
    Clip,
    Report,
    name_hash,
    scan,
    split,
    why_unreadable,
)
from bigcodec_models.errors import DataError, UnreadableError

__all__ = [
    "Clip",
    "CropSource",
    "Source",
    "Wave",
    "excerpts",
    "mix",
    "read_mono",
    "scan",
    "crop_fractions",
    "split",
]

Source = tuple[Sequence[Clip], float | None]
"""Clips, and the fraction of all crops that come from them; None for a fraction by duration."""

_CROP_PEAK = 0.99
_SILENCE = 1e-7  # mean square, -70 dB of full scale
_DEFAULT_CACHE_BYTES = 2 << 30
_LONGEST_CACHED = 300.0  # seconds; decoding a longer clip would delay its first crop
_ATTEMPTS = 20
# Seconds read around a crop that is resampled, so that its edges are as in the whole file.
_MARGIN = 0.1


def read_mono(clip: Clip, start: int = 0, length: int | None = None) -> Wave:
    """Samples [start, start + length) of a clip at 16 kHz, channels averaged: (n,).

    `start` and `length` count samples at 16 kHz; n is at least 1 and at most `length`, and smaller
    than that where the clip ends before. Without `length` the rest of the clip is read.

    Raises:
        UnreadableError: the file has changed or become unreadable since it was scanned.
    """
    length = clip.samples - start if length is None else min(length, clip.samples - start)
    # Blocks start where samples of both rates coincide; otherwise the crop would be shifted by a
    # fraction of a sample.
    target_rate, source_rate = _ratio(clip.rate)
    margin = 0 if target_rate == source_rate else math.ceil(_MARGIN * SAMPLE_RATE)
    first = max(0, start - margin) // target_rate
    last = -(-(start + length + margin) // target_rate)
    mono = _read_frames(clip, first * source_rate, (last - first) * source_rate)
    if target_rate != source_rate:
        mono = np.asarray(soxr.resample(mono, clip.rate, SAMPLE_RATE), dtype=np.float32)
    offset = start - first * target_rate
    piece = mono[offset : offset + length]
    if not len(piece):
        raise UnreadableError(clip.path, "is shorter than when it was scanned")
    return piece


def _ratio(rate: int) -> tuple[int, int]:
    """The ratio of 16 kHz to `rate` in lowest terms."""
    divisor = math.gcd(SAMPLE_RATE, rate)
    return SAMPLE_RATE // divisor, rate // divisor


def _read_frames(clip: Clip, start: int, frames: int) -> Wave:
    """At most `frames` frames from `start` at the rate of the file, channels averaged: (n,)."""
    try:
        samples, rate = _read_any(clip, start, frames)
    except (soundfile.LibsndfileError, OSError) as error:
        raise UnreadableError(clip.path, why_unreadable(clip.path, error)) from error
    if rate != clip.rate:
        raise UnreadableError(clip.path, f"its rate was {clip.rate} Hz and is now {rate} Hz")
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise UnreadableError(clip.path, "holds samples that are not finite")
    return np.asarray(mono, dtype=np.float32)


def _read_any(clip: Clip, start: int, frames: int) -> tuple[npt.NDArray[np.float32], int]:
    """At most `frames` frames from `start` (n, channels), and the rate of the file."""
    if not clip.sequential:
        return soundfile.read(  # type: ignore[no-any-return]
            os.fsencode(clip.path), frames, start, dtype="float32", always_2d=True
        )
    with AudioFile(clip.path) as file:
        blocks, count = [np.zeros((0, file.channels), np.float32)], 0
        for block in file.blocks():
            blocks.append(block[max(0, start - count) :])
            count += len(block)
            if count >= start + frames:
                break
        return np.concatenate(blocks)[:frames], file.rate


def excerpts(
    clips: Sequence[Clip], count: int, seconds: float, failed: Report | None = None
) -> list[tuple[str, Wave]]:
    """Names and first `seconds` of at most `count` clips: waves (n,).

    The first clip of each folder is followed by the second one of each, and so on, in an order
    that depends only on their names. Unreadable ones are skipped, and `failed` is called with the
    path and the reason of each. Names are relative to the root.

    Raises:
        DataError: no clip can be read.
    """
    waves: list[tuple[str, Wave]] = []
    failure: DataError = DataError("no clips for validation")
    for clip in _round_robin(clips):
        if len(waves) >= count:
            break
        try:
            wave = read_mono(clip, 0, max(1, round(seconds * SAMPLE_RATE)))
        except UnreadableError as error:
            failure = error
            if failed is not None:
                failed(error.path, error.reason)
            continue
        # File names need not be valid text, but displayed names must be.
        waves.append((clip.name.encode("utf-8", "backslashreplace").decode(), wave))
    if not waves and count > 0:
        raise failure
    return waves


def _round_robin(clips: Sequence[Clip]) -> Iterator[Clip]:
    folders: dict[tuple[str, ...], list[Clip]] = collections.defaultdict(list)
    for clip in sorted(clips, key=lambda clip: (name_hash(clip.name), clip.path)):
        folders[clip.folders].append(clip)
    queues = [folders[key] for key in sorted(folders, key=lambda key: name_hash("/".join(key)))]
    for clips_of_turn in itertools.zip_longest(*queues):
        yield from (clip for clip in clips_of_turn if clip is not None)


def crop_fractions(sources: Sequence[Source]) -> list[float]:
    """The fraction of all crops that come from each source; they sum to 1.

    A weight is a fraction, and sources without one divide the rest in proportion to their duration.
    Where all sources have weights, these need not sum to 1.

    Raises:
        DataError: a source is empty, a weight is not above 0, or the weights leave no rest.
    """
    weights = [weight for _, weight in sources if weight is not None]
    if not sources or not all(clips for clips, _ in sources):
        raise DataError("a source of training data has no clips")
    if not all(0 < weight < math.inf for weight in weights):
        raise DataError("weights of data must be above 0")
    given = math.fsum(weights)
    if len(weights) == len(sources):
        return [weight / given for weight in weights]
    if given >= 1:
        raise DataError(f"weights sum to {given:g}: no crops are left for data without a weight")
    unweighted = [math.fsum(clip.seconds for clip in clips) for clips, w in sources if w is None]
    scale = (1 - given) / math.fsum(unweighted)
    durations = iter(unweighted)
    return [next(durations) * scale if weight is None else weight for _, weight in sources]


def mix(wave: Wave, noise: Wave, snr_db: float) -> Wave:
    """`wave` (n,) plus `noise` (n,), scaled to a signal-to-noise ratio of `snr_db` dB.

    Where either is silent (below -70 dB of full scale) the result is `wave`.
    """
    power, noise_power = float(np.square(wave).mean()), float(np.square(noise).mean())
    if min(power, noise_power) < _SILENCE:
        return wave
    scale = math.sqrt(power / noise_power / 10 ** (snr_db / 10))
    return np.asarray(wave + noise * np.float32(scale), dtype=np.float32)


class CropSource:
    """Batches of random crops from weighted sources, with noise and level as augmentation.

    `sources` are clips, or pairs of clips and weights (see `crop_fractions`). Within a source, the
    probability of a clip is proportional to its duration, and all starts of a crop are equally
    likely. `crop` is the length in samples; short clips are padded with zeros at the end.

    With probability `noise_probability` a crop of the `noise` clips, repeated if short, is added at
    a signal-to-noise ratio from the uniform distribution over `noise_snr_db`. The level is then
    changed by up to `gain_db` in either direction, and reduced where the peak would exceed 0.99.

    Clips of up to 5 minutes stay in memory once decoded, as 16-bit samples, as far as `cache_bytes`
    allows; sources whose clips are used most often come first. From other clips each crop is read
    by seeking.

    A clip that has become unreadable is skipped, and `failed`, if given, is called with its path
    and the reason, once per file and possibly from another thread.

    Raises:
        DataError: there are no clips, or the weights are wrong; see `crop_fractions`.
        ValueError: an option is out of range.
    """

    def __init__(
        self,
        sources: Sequence[Clip] | Sequence[Source],
        *,
        crop: int,
        seed: int,
        gain_db: float = 0.0,
        noise: Sequence[Clip] = (),
        noise_probability: float = 0.0,
        noise_snr_db: tuple[float, float] = (0.0, 20.0),
        cache_bytes: int = _DEFAULT_CACHE_BYTES,
        failed: Report | None = None,
    ) -> None:
        if crop < 1 or not 0 <= noise_probability <= 1 or noise_snr_db[0] > noise_snr_db[1]:
            raise ValueError("crop, noise_probability or noise_snr_db out of range")
        if noise_probability and not noise:
            raise ValueError("noise_probability without clips of noise")
        pairs = _pairs(sources)
        self._ends = np.cumsum(crop_fractions(pairs))
        self._groups = [_Group(clips) for clips, _ in pairs]
        self._noise = _Group(noise) if noise else None
        self._noise_probability, self._noise_snr_db = noise_probability, noise_snr_db
        self._crop, self._seed, self._gain_db = crop, seed, gain_db
        self._cacheable = self._choose_cached(cache_bytes)
        self._cache: dict[Clip, npt.NDArray[np.int16]] = {}
        self._failed = failed
        self._reported: set[Path] = set()
        self._lock = threading.Lock()

    def _choose_cached(self, budget: int) -> set[Clip]:
        """The clips that may stay in memory.

        They are chosen in advance, since a crop of a compressed file that is read by seeking
        differs in the last bits from the same crop of the decoded file.
        """
        fractions = np.diff(self._ends, prepend=0.0)
        usage = [(f / g.seconds, g) for f, g in zip(fractions, self._groups, strict=True)]
        if self._noise is not None:
            usage.append((self._noise_probability / self._noise.seconds, self._noise))
        cacheable: set[Clip] = set()
        for _, group in sorted(usage, key=lambda pair: -pair[0]):
            for clip in group.clips:
                size = 2 * clip.samples
                if size <= budget and clip.seconds <= _LONGEST_CACHED and clip not in cacheable:
                    cacheable.add(clip)
                    budget -= size
        return cacheable

    def batch(self, step: int, size: int) -> Wave:
        """Crops (size, crop) for one step, float32 in [-1, 1].

        Raises:
            DataError: 20 clips in a row could not be read.
        """
        return np.stack([self._crop_of(step, item) for item in range(size)])

    def batches(
        self, first_step: int, size: int, *, first: int = 0, workers: int = 4, ahead: int = 4
    ) -> Generator[Wave, None, None]:
        """Batches (size, crop) from `first_step` on, without end.

        Those of the next `ahead` steps are read by `workers` threads in the meantime. Closing waits
        for at most one crop per thread. `first` is the position in the batch of the first crop,
        for a process that computes only a part of each batch.

        Raises:
            DataError: as `batch`, when the batch of that step is due.
        """
        steps, stop = itertools.count(first_step), threading.Event()
        items = range(first, first + size)
        pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="crops")
        pending: collections.deque[concurrent.futures.Future[Wave]] = collections.deque()
        try:
            while True:
                while len(pending) <= ahead:
                    pending.append(pool.submit(self._batch_unless, stop, next(steps), items))
                yield pending.popleft().result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)

    def _batch_unless(self, stop: threading.Event, step: int, items: range) -> Wave:
        crops = []
        for item in items:
            if stop.is_set():
                raise concurrent.futures.CancelledError
            crops.append(self._crop_of(step, item))
        return np.stack(crops)

    def _crop_of(self, step: int, item: int) -> Wave:
        random = np.random.default_rng((self._seed, step, item))
        for _ in range(_ATTEMPTS):
            try:
                return self._attempt(random)
            except UnreadableError as error:
                failure = error
                self._report(error)
        raise DataError(f"{_ATTEMPTS} clips in a row could not be read, the last one: {failure}")

    def _report(self, error: UnreadableError) -> None:
        with self._lock:
            known = error.path in self._reported
            self._reported.add(error.path)
        if self._failed is not None and not known:
            self._failed(error.path, error.reason)

    def _attempt(self, random: np.random.Generator) -> Wave:
        source = int(np.searchsorted(self._ends, random.random(), side="right"))
        group = self._groups[min(source, len(self._groups) - 1)]
        wave = self._read(group.choose(random), random.random())
        wave = np.pad(wave, (0, self._crop - len(wave)))
        if self._noise is not None and random.random() < self._noise_probability:
            noise = self._noise_crop(self._noise.choose(random), random.random())
            wave = mix(wave, noise, random.uniform(*self._noise_snr_db))
        gain = 10 ** (random.uniform(-self._gain_db, self._gain_db) / 20)
        peak = float(np.abs(wave).max())
        return wave * np.float32(min(gain, _CROP_PEAK / max(peak, 1e-9)))

    def _noise_crop(self, clip: Clip, position: float) -> Wave:
        piece = self._read(clip, position)
        if len(piece) < self._crop:
            piece = np.resize(np.roll(piece, int(position * len(piece))), self._crop)
        return piece

    def _read(self, clip: Clip, position: float) -> Wave:
        """A crop of a clip, or the whole clip if it is short: (n,).

        `position` in [0, 1) chooses among the possible starts.
        """
        start = int(position * max(1, clip.samples - self._crop + 1))
        if clip in self._cacheable:
            if clip not in self._cache:
                self._cache[clip] = _to_16_bits(read_mono(clip))
            piece = self._cache[clip][start : start + self._crop]
        else:
            piece = _to_16_bits(read_mono(clip, start, self._crop))
        if not len(piece):
            raise UnreadableError(clip.path, "is shorter than when it was scanned")
        return np.asarray(piece / np.float32(32768), dtype=np.float32)


class _Group:
    """Clips that are chosen with probabilities proportional to their duration."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = list(clips)
        self._ends = np.cumsum([clip.seconds for clip in clips])
        self.seconds = float(self._ends[-1])

    def choose(self, random: np.random.Generator) -> Clip:
        index = int(np.searchsorted(self._ends, random.random() * self.seconds, side="right"))
        return self.clips[min(index, len(self.clips) - 1)]


def _pairs(sources: Sequence[Clip] | Sequence[Source]) -> list[Source]:
    clips = [source for source in sources if isinstance(source, Clip)]
    if clips:
        return [(clips, None)]
    return [source for source in sources if not isinstance(source, Clip)]


def _to_16_bits(wave: Wave) -> npt.NDArray[np.int16]:
    return np.round(np.clip(wave * 32768, -32768, 32767)).astype(np.int16)
