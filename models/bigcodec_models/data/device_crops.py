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
from bigcodec_models.data.augment import equalize, play_faster
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


def moved(batch: Wave | Tensor, device: torch.device) -> Tensor:
    """A batch (B, n) on a device; the host does not wait for it."""
    if isinstance(batch, Tensor):
        return batch
    wave = torch.from_numpy(batch)
    if device.type == "cuda":
        wave = wave.pin_memory()
    return wave.to(device, non_blocking=True)


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
        pending: collections.deque[Future[list[CropChoice]]] = collections.deque()
        try:
            for step in itertools.count(first_step):
                while len(pending) <= _AHEAD:
                    pending.append(pool.submit(self._choices, bank, step + len(pending), items))
                yield self._made(bank, pending.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)

    def batch(self, step: int, size: int) -> Tensor:
        """Crops (size, crop) for one step, float32 in [-1, 1] on the device.

        Raises:
            DataError: as `batches`.
        """
        bank = self._loaded()
        return self._made(bank, self._choices(bank, step, range(size)))

    def _loaded(self) -> SampleBank:
        if self._bank is None:
            self._bank = self._load()
        return self._bank

    def _choices(self, bank: SampleBank, step: int, items: range) -> list[CropChoice]:
        return [self._choose(bank, step, item) for item in items]

    @torch.no_grad()
    def _made(self, bank: SampleBank, choices: list[CropChoice]) -> Tensor:
        """The crops (B, crop) of choices."""
        wave = self._with_noise(bank, self._cut(bank, choices), choices)
        gain = self._tensor([choice.gain for choice in choices])
        peak = wave.abs().amax(dim=1).clamp(min=1e-9)
        return wave * torch.minimum(gain, CROP_PEAK / peak).unsqueeze(1)

    def _choose(self, bank: SampleBank, step: int, item: int) -> CropChoice:
        random = self._chooser.random(step, item)
        for _ in range(ATTEMPTS):
            choice = self._chooser.choose(random)
            start, length = choice.start(self._crop), bank.place(choice.clip)[1]
            noise = choice.noise
            if start < length and (noise is None or bank.place(noise.clip)[1]):
                return choice
        raise DataError(
            f"{ATTEMPTS} clips in a row could not be read, the last: {choice.clip.path}"
        )

    def _tensor(self, values: Sequence[object], dtype: torch.dtype = torch.float32) -> Tensor:
        assert self._bank is not None
        table = torch.tensor(values, dtype=dtype)
        return table.to(self._bank.samples.device, non_blocking=True)

    def _cut(self, bank: SampleBank, choices: list[CropChoice]) -> Tensor:
        """The crops (B, crop) of choices, played faster and equalized as chosen."""
        offsets = self._tensor([choice.start(self._crop) for choice in choices], torch.int64)
        places = self._tensor([bank.place(choice.clip) for choice in choices], torch.int64)
        starts, lengths = places[:, 0] + offsets, places[:, 1] - offsets
        wave = bank.pieces(starts, lengths, self._crop)
        fast = [row for row, choice in enumerate(choices) if choice.speed != 1.0]
        if fast:
            rows = self._tensor(fast, torch.int64)
            needed = max(choices[row].samples(self._crop) for row in fast)
            source = bank.pieces(starts[rows], lengths[rows], needed)
            speed = self._tensor([choices[row].speed for row in fast], torch.float64)
            wave.index_copy_(0, rows, play_faster(source, speed, self._crop))
        shaped = [row for row, choice in enumerate(choices) if choice.equalizer]
        if shaped:
            rows = self._tensor(shaped, torch.int64)
            curves = self._tensor([choices[row].equalizer for row in shaped])
            wave.index_copy_(0, rows, equalize(wave[rows], curves))
        return wave

    def _with_noise(self, bank: SampleBank, wave: Tensor, choices: list[CropChoice]) -> Tensor:
        noisy = [(row, choice.noise) for row, choice in enumerate(choices) if choice.noise]
        if not noisy:
            return wave
        rows = self._tensor([row for row, _ in noisy], torch.int64)
        parts = [self._noise_place(bank, noise.clip, noise.position) for _, noise in noisy]
        starts, lengths, shifts = self._tensor(parts, torch.int64).unbind(1)
        noise = bank.repeated(starts, lengths, shifts, self._crop)
        snr = self._tensor([noise.snr_db for _, noise in noisy])
        clean = wave[rows]
        power, noise_power = clean.square().mean(dim=1), noise.square().mean(dim=1)
        audible = torch.minimum(power, noise_power) >= SILENCE
        scale = (power / noise_power.clamp(min=1e-20) / 10 ** (snr / 10)).sqrt() * audible
        return wave.index_copy(0, rows, clean + noise * scale.unsqueeze(1))

    def _noise_place(self, bank: SampleBank, clip: Clip, position: float) -> tuple[int, int, int]:
        """First sample, length and rotation of a crop of noise."""
        start, length = bank.place(clip)
        offset = min(first_sample(clip, position, self._crop), length - 1)
        length = min(length - offset, self._crop)
        shift = int(position * length) if length < self._crop else 0
        return start + offset, length, shift
