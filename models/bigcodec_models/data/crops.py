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
import torch

from bigcodec_models.arrays import Wave
from bigcodec_models.audio.sequential import silent_decoders
from bigcodec_models.audio.source import open_source
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.data.augment import equalize, play_faster
from bigcodec_models.data.crop_choice import (
    ATTEMPTS,
    CROP_PEAK,
    SILENCE,
    UNCHANGED,
    Augmentation,
    CropChoice,
    CropChooser,
    Source,
    crop_fractions,
    first_sample,
)
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
    "Augmentation",
    "Clip",
    "CropChooser",
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

_DEFAULT_CACHE_BYTES = 2 << 30
_LONGEST_CACHED = 300.0  # seconds; decoding a longer clip would delay its first crop
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
        with silent_decoders():
            return soundfile.read(  # type: ignore[no-any-return]
                os.fsencode(clip.path), frames, start, dtype="float32", always_2d=True
            )
    with open_source(clip.path) as file:
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


def mix(wave: Wave, noise: Wave, snr_db: float) -> Wave:
    """`wave` (n,) plus `noise` (n,), scaled to a signal-to-noise ratio of `snr_db` dB.

    Where either is silent (below -70 dB of full scale) the result is `wave`.
    """
    power, noise_power = float(np.square(wave).mean()), float(np.square(noise).mean())
    if min(power, noise_power) < SILENCE:
        return wave
    scale = math.sqrt(power / noise_power / 10 ** (snr_db / 10))
    return np.asarray(wave + noise * np.float32(scale), dtype=np.float32)


class CropSource:
    """Batches of random crops from weighted sources, with noise and level as augmentation.

    `sources` are clips, or pairs of clips and weights; `CropChooser` tells how crops are chosen.
    `crop` is the length in samples; short clips are padded with zeros at the end, and short clips
    of noise repeated. After all changes of `augmentation` the level is reduced where the peak would
    exceed 0.99.

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
        augmentation: Augmentation = UNCHANGED,
        noise: Sequence[Clip] = (),
        cache_bytes: int = _DEFAULT_CACHE_BYTES,
        failed: Report | None = None,
    ) -> None:
        if crop < 1:
            raise ValueError("crop must be at least 1")
        self._chooser = CropChooser(sources, noise, augmentation, seed)
        self._crop = crop
        self._cacheable = _choose_cached(self._chooser, cache_bytes)
        self._cache: dict[Clip, npt.NDArray[np.int16]] = {}
        self._failed = failed
        self._reported: set[Path] = set()
        self._lock = threading.Lock()

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
        random = self._chooser.random(step, item)
        for _ in range(ATTEMPTS):
            try:
                return self._rendered(self._chooser.choose(random))
            except UnreadableError as error:
                failure = error
                self._report(error)
        raise DataError(f"{ATTEMPTS} clips in a row could not be read, the last one: {failure}")

    def _report(self, error: UnreadableError) -> None:
        with self._lock:
            known = error.path in self._reported
            self._reported.add(error.path)
        if self._failed is not None and not known:
            self._failed(error.path, error.reason)

    def _rendered(self, choice: CropChoice) -> Wave:
        """The crop of a choice: (crop,)."""
        needed = choice.samples(self._crop)
        wave = self._read(choice.clip, choice.start(self._crop), needed)
        wave = _changed(np.pad(wave, (0, needed - len(wave))), choice, self._crop)
        if choice.noise is not None:
            noise = self._noise_crop(choice.noise.clip, choice.noise.position)
            wave = mix(wave, noise, choice.noise.snr_db)
        peak = float(np.abs(wave).max())
        return wave * np.float32(min(choice.gain, CROP_PEAK / max(peak, 1e-9)))

    def _noise_crop(self, clip: Clip, position: float) -> Wave:
        piece = self._read(clip, first_sample(clip, position, self._crop), self._crop)
        if len(piece) < self._crop:
            piece = np.resize(np.roll(piece, int(position * len(piece))), self._crop)
        return piece

    def _read(self, clip: Clip, start: int, length: int) -> Wave:
        """At most `length` samples of a clip from `start` on: (n,)."""
        if clip in self._cacheable:
            if clip not in self._cache:
                self._cache[clip] = to_16_bits(read_mono(clip))
            piece = self._cache[clip][start : start + length]
        else:
            piece = to_16_bits(read_mono(clip, start, length))
        if not len(piece):
            raise UnreadableError(clip.path, "is shorter than when it was scanned")
        return np.asarray(piece / np.float32(32768), dtype=np.float32)


def _choose_cached(chooser: CropChooser, budget: int) -> set[Clip]:
    """The clips that may stay in memory, of `budget` bytes.

    They are chosen in advance, since a crop of a compressed file that is read by seeking differs in
    the last bits from the same crop of the decoded file.
    """
    pairs = zip(chooser.fractions, chooser.groups, strict=True)
    usage = [(fraction / group.seconds, group) for fraction, group in pairs]
    if chooser.noise is not None:
        usage.append(
            (chooser.augmentation.noise_probability / chooser.noise.seconds, chooser.noise)
        )
    cacheable: set[Clip] = set()
    for _, group in sorted(usage, key=lambda pair: -pair[0]):
        for clip in group.clips:
            size = 2 * clip.samples
            if size <= budget and clip.seconds <= _LONGEST_CACHED and clip not in cacheable:
                cacheable.add(clip)
                budget -= size
    return cacheable


def _changed(wave: Wave, choice: CropChoice, length: int) -> Wave:
    """A wave of `choice.samples(length)` samples, played faster and equalized as chosen."""
    if choice.speed == 1.0 and not choice.equalizer:
        return wave
    rows = torch.from_numpy(wave).unsqueeze(0)
    if choice.speed != 1.0:
        rows = play_faster(rows, torch.tensor([choice.speed], dtype=torch.float64), length)
    if choice.equalizer:
        rows = equalize(rows, torch.tensor([choice.equalizer]))
    changed: Wave = rows[0].numpy()
    return changed


def to_16_bits(wave: Wave) -> npt.NDArray[np.int16]:
    """Samples in [-1, 1] as integers of 16 bits, clipped: (n,)."""
    return np.round(np.clip(wave * 32768, -32768, 32767)).astype(np.int16)
