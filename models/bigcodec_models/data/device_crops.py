"""Crops that are cut and changed on the device that trains, from speech that lies there."""

from __future__ import annotations

import collections
import itertools
import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bigcodec_models.arrays import Wave
from bigcodec_models.data.augment import EQUALIZER_POINTS, equalize, play_faster
from bigcodec_models.data.crop_choice import (
    ATTEMPTS,
    CROP_PEAK,
    SILENCE,
    CropChoice,
    CropChooser,
    first_sample,
)
from bigcodec_models.errors import DataError, UnreadableError

if TYPE_CHECKING:
    from pathlib import Path

    from bigcodec_models.data.index import Clip

Samples = npt.NDArray[np.int16]
Read = Callable[["Clip"], Samples]
_AHEAD = 4  # steps whose crops are chosen in advance


class Crops(Protocol):
    """What a run trains on: `crops.CropSource`, or `DeviceCrops`."""

    def batches(
        self, first_step: int, size: int, *, first: int = 0
    ) -> Generator[Wave | Tensor, None, None]:
        """Batches (size, crop) from `first_step` on, as `CropSource.batches`."""
        ...


def moved(values: Wave | Tensor, device: torch.device) -> Tensor:
    """Values of any shape on a device. The host does not wait for it, as it would for a GPU with
    memory that is not pinned."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class SampleBank:
    """The samples of clips on a device, 16 bits each, one clip after another.

    `read` gives the samples of a clip, as many as it has or fewer, at 16 kHz. Clips are read by as
    many threads as there are processors. One that cannot be read has no samples, and `failed`, if
    given, is called with its path and the reason.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        read: Read,
        device: torch.device,
        failed: Callable[[Path, str], None] | None = None,
    ) -> None:
        sizes = np.array([clip.samples for clip in clips], dtype=np.int64)
        starts = np.cumsum(sizes) - sizes
        self.samples = torch.zeros(int(sizes.sum()) + 1, dtype=torch.int16, device=device)
        self._places: dict[Clip, tuple[int, int]] = {}
        self._failed, self._lock = failed, threading.Lock()

        def load(clip: Clip, start: int) -> None:
            wave = self._read(clip, read)
            place = slice(start, start + len(wave))
            self.samples[place].copy_(torch.from_numpy(wave))
            self._places[clip] = (start, len(wave))

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(load, clips, starts.tolist()))

    def _read(self, clip: Clip, read: Read) -> Samples:
        try:
            return read(clip)
        except UnreadableError as error:
            if self._failed is not None:
                with self._lock:
                    self._failed(error.path, error.reason)
            return np.zeros(0, np.int16)

    def place(self, clip: Clip) -> tuple[int, int]:
        """The first sample of a clip in the bank, and how many there are."""
        return self._places[clip]

    def pieces(self, starts: Tensor, lengths: Tensor, size: int) -> Tensor:
        """Samples from `starts` (B,), int64, on: float32 (B, size), zeros after `lengths` (B,)."""
        place = torch.arange(size, device=self.samples.device)
        index = (starts.unsqueeze(1) + place).clamp(max=len(self.samples) - 1)
        inside = place < lengths.unsqueeze(1)
        return self.samples[index] * inside / 32768

    def repeated(self, starts: Tensor, lengths: Tensor, shifts: Tensor, size: int) -> Tensor:
        """Float32 (B, size): the `lengths` samples from `starts` on, rotated right by `shifts`, and
        repeated; int64 (B,) each."""
        place = torch.arange(size, device=self.samples.device) - shifts.unsqueeze(1)
        index = starts.unsqueeze(1) + place % lengths.unsqueeze(1)
        return self.samples[index] / 32768


class DeviceCrops:
    """Batches of random crops as `CropSource` gives them, made on the device.

    A batch has the crops of a `CropSource` with the same clips, options and seed, up to rounding:
    what they are is chosen on the host. The bank is made by the function `load` when the first
    batch is due.
    """

    def __init__(self, chooser: CropChooser, crop: int, load: Callable[[], SampleBank]) -> None:
        self._chooser, self._crop, self._load = chooser, crop, load
        self._bank: SampleBank | None = None

    @property
    def gigabytes(self) -> float:
        """The size of all samples on the device."""
        return 2e-9 * sum(clip.samples for clip in self._chooser.clips())

    def batches(
        self, first_step: int, size: int, *, first: int = 0
    ) -> Generator[Tensor, None, None]:
        """Batches (size, crop) from `first_step` on, without end, float32 on the device.

        Those of the next steps are chosen by another thread in the meantime. `first` is the
        position in the batch of the first crop.

        Raises:
            DataError: 20 clips in a row could not be read.
        """
        bank = self._loaded()
        items = range(first, first + size)
        pool = ThreadPoolExecutor(1, thread_name_prefix="crops")
        pending: collections.deque[Future[_Batch]] = collections.deque()
        try:
            for step in itertools.count(first_step):
                while len(pending) <= _AHEAD:
                    pending.append(pool.submit(self._chosen, bank, step + len(pending), items))
                yield self._rendered(bank, pending.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)

    def batch(self, step: int, size: int) -> Tensor:
        """Crops (size, crop) for one step, float32 in [-1, 1] on the device.

        Raises:
            DataError: as `batches`.
        """
        bank = self._loaded()
        return self._rendered(bank, self._chosen(bank, step, range(size)))

    def _loaded(self) -> SampleBank:
        if self._bank is None:
            self._bank = self._load()
        return self._bank

    def _chosen(self, bank: SampleBank, step: int, items: range) -> _Batch:
        choices = [self._choose(bank, step, item) for item in items]
        return _Batch(bank, choices, self._crop)

    def _choose(self, bank: SampleBank, step: int, item: int) -> CropChoice:
        random = self._chooser.random(step, item)
        for _ in range(ATTEMPTS):
            choice = self._chooser.choose(random)
            start, length = choice.start(self._crop), bank.place(choice.clip)[1]
            noise = choice.noise
            if start < length and (noise is None or bank.place(noise.clip)[1]):
                return choice
        last = choice.clip.path
        raise DataError(f"{ATTEMPTS} clips in a row could not be read, the last one: {last}")

    @torch.no_grad()
    def _rendered(self, bank: SampleBank, batch: _Batch) -> Tensor:
        """The crops (B, crop) of a batch; the host does not wait for the device."""
        device, crop = bank.samples.device, self._crop
        places, numbers = moved(batch.places, device), moved(batch.numbers, device)
        wave = bank.pieces(places[:, 0], places[:, 1], crop)
        if batch.fast:
            rows = moved(torch.tensor(batch.fast), device)
            source = bank.pieces(places[rows, 0], places[rows, 1], batch.longest)
            wave.index_copy_(0, rows, play_faster(source, numbers[rows, 1], crop))
        if batch.equalized:
            rows = moved(torch.tensor(batch.equalized), device)
            wave.index_copy_(0, rows, equalize(wave[rows], numbers[rows, 3:].float()))
        if batch.noisy:
            rows = moved(torch.tensor(batch.noisy), device)
            starts, lengths, shifts = places[rows, 2:].unbind(1)
            noise = bank.repeated(starts, lengths, shifts, crop)
            wave.index_copy_(0, rows, _mixed(wave[rows], noise, numbers[rows, 2].float()))
        peak = wave.abs().amax(dim=1).clamp(min=1e-9)
        return wave * torch.minimum(numbers[:, 0].float(), CROP_PEAK / peak).unsqueeze(1)


class _Batch:
    """The crops of a batch in numbers, on the host.

    `places` (B, 5), int64: in the bank, first sample and length of what is left of the clip; of the
    noise first sample, length and rotation. `numbers` (B, 10), float64: gain, speed, ratio of the
    noise in dB, curve of the equalizer. `fast`, `equalized` and `noisy` are the rows to which that
    is done; `longest` is the most samples that one of the fast ones needs.
    """

    def __init__(self, bank: SampleBank, choices: Sequence[CropChoice], crop: int) -> None:
        rows = list(enumerate(choices))
        self.fast = [row for row, choice in rows if choice.speed != 1.0]
        self.equalized = [row for row, choice in rows if choice.equalizer]
        self.noisy = [row for row, choice in rows if choice.noise is not None]
        self.longest = max((choices[row].samples(crop) for row in self.fast), default=0)
        self.places = torch.tensor([_places(bank, choice, crop) for choice in choices])
        flat = (0.0,) * EQUALIZER_POINTS
        self.numbers = torch.tensor(
            [
                (c.gain, c.speed, c.noise.snr_db if c.noise else 0.0, *(c.equalizer or flat))
                for c in choices
            ],
            dtype=torch.float64,
        )


def _places(bank: SampleBank, choice: CropChoice, crop: int) -> tuple[int, ...]:
    """A row of `_Batch.places`."""
    start, length = bank.place(choice.clip)
    offset = choice.start(crop)
    if choice.noise is None:
        return start + offset, length - offset, 0, 1, 0
    clip, position = choice.noise.clip, choice.noise.position
    noise_start, noise_length = bank.place(clip)
    noise_offset = min(first_sample(clip, position, crop), noise_length - 1)
    left = min(noise_length - noise_offset, crop)
    shift = int(position * left) if left < crop else 0
    return start + offset, length - offset, noise_start + noise_offset, left, shift


def _mixed(wave: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """As `crops.mix`, for rows: waves and noise (B, n), ratios (B,)."""
    power, noise_power = wave.square().mean(dim=1), noise.square().mean(dim=1)
    audible = torch.minimum(power, noise_power) >= SILENCE
    scale = (power / noise_power.clamp(min=1e-20) / 10 ** (snr_db / 10)).sqrt() * audible
    return wave + noise * scale.unsqueeze(1)
