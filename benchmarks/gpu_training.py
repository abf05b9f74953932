"""The time of training steps on a GPU, launched one by one and as CUDA graphs (benchmarks.gpu)."""

from __future__ import annotations

import contextlib
import gc
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.report import write_section
from bigcodec_models.config import PRESETS, SAMPLE_RATE
from bigcodec_models.config_values import merged
from bigcodec_models.data.crop_choice import Augmentation, CropChooser
from bigcodec_models.data.device_crops import DeviceCrops, SampleBank
from bigcodec_models.errors import NonFiniteError
from bigcodec_models.training.config import recipe_for, with_settings
from bigcodec_models.training.events import Callbacks
from bigcodec_models.training.trainer import Trainer

_BLOCKS, _STEPS = 3, 5
_SHOWN_KERNELS = 20


@dataclass(frozen=True)
class Case:
    """A step to measure: settings of a run, with crops of `seconds`."""

    title: str
    preset: str
    batch: int
    seconds: float
    settings: Mapping[str, Any]

    def trainer(self, device: str, folder: Path) -> Trainer:
        """A run with random weights, without data."""
        base = {
            "batch_size": self.batch,
            "crops": {"seconds": self.seconds},
            "codebook": {"replace_dead_codes_every": 0},
        }
        model = PRESETS[self.preset]
        config = with_settings(recipe_for(model), merged(base, self.settings))
        return Trainer(model, config, None, folder, device)  # type: ignore[arg-type]

    def wave(self, device: str) -> Tensor:
        """A buzz of varying F0 in noise, (B, 1, N)."""
        hop = PRESETS[self.preset].hop
        samples = round(self.seconds * SAMPLE_RATE) // hop * hop
        random = torch.Generator().manual_seed(1)
        f0 = 80 + 200 * torch.rand(self.batch, 1, generator=random)
        time_axis = torch.arange(samples) / SAMPLE_RATE
        phase = 2 * torch.pi * (f0 * time_axis + 2 * torch.sin(5 * time_axis))
        wave = sum(torch.sin(k * phase) / k for k in range(1, 9))
        wave = 0.1 * wave + 0.01 * torch.randn(self.batch, samples, generator=random)
        return wave.unsqueeze(1).to(device)


@dataclass(frozen=True)
class _Noise:
    """A clip of noise, by number and seconds."""

    number: int
    seconds: float

    @property
    def samples(self) -> int:
        return round(self.seconds * SAMPLE_RATE)

    def read(self) -> Any:
        random = np.random.default_rng(self.number)
        return random.integers(-9000, 9000, self.samples, dtype=np.int16)


_LITE = {"precision": "auto", "optimizer": {"kind": "muon"}, "losses": {"loudness_weight": 20.0}}
_WITH = {
    "discriminators": {"preset": "published"},
    "adversarial": {"start_step": 0, "every": 1, "segment_seconds": 0.6},
}
_WITHOUT = {"discriminators": {"preset": "none"}}


def cases(small: bool) -> list[Case]:
    """What is measured; at sizes for a CPU if `small`."""
    if small:
        lite, base, size = "toy-single", "toy", (2, 1.0)
        both = {**_WITH, "discriminators": {"preset": "small"}}
        return [
            Case("toy lite, no discriminators", lite, *size, merged(_LITE, _WITHOUT)),
            Case("toy lite, small discriminators", lite, *size, merged(_LITE, both)),
            Case("toy, no discriminators", base, *size, _WITHOUT),
        ]
    return [
        Case("lite, no discriminators", "lite", 64, 3.0, merged(_LITE, _WITHOUT)),
        Case("lite, published discriminators on 0.6 s", "lite", 64, 3.0, merged(_LITE, _WITH)),
        Case("bigcodec-base, published step, float32", "bigcodec-base", 8, 1.0, {}),
        Case("bigcodec-base, bfloat16", "bigcodec-base", 8, 1.0, {"precision": "bfloat16"}),
        Case(
            "lite, no discriminators, AdamW",
            "lite",
            64,
            3.0,
            merged(_LITE, {**_WITHOUT, "optimizer": {"kind": "adamw"}}),
        ),
    ]


class TrainingBenchmark:
    """Measures cases one after another for at most `seconds`. Every result is printed at once, and
    appended to the file `out` as a line that begins with the name of the device; without a file all
    lines become a section of RESULTS.md."""

    def __init__(self, device: str, seconds: float, out: Path | None, *, small: bool) -> None:
        self._device, self._out, self._small = device, out, small
        self._lines: list[str] = []
        self._end = time.monotonic() + seconds
        is_cuda = device.startswith("cuda")
        self._name = torch.cuda.get_device_name(device) if is_cuda else device

    def run(self) -> None:
        """All parts; one that fails prints its traceback, and the next one follows."""
        self._say(f"torch {torch.__version__}, CUDA {torch.version.cuda}")
        chosen = cases(self._small)
        for case in chosen[:4]:
            self._part(f"{case.title}: compiled", lambda case=case: self._time(case, True))
        self._part("loop with speech on the device", lambda: self._loop(chosen[0]))
        for case in chosen[:3]:
            self._part(f"{case.title}: eager", lambda case=case: self._time(case, False))
        for case in chosen[:3]:
            self._part(f"{case.title}: kernels", lambda case=case: self._profile(case))
        for case in chosen[1:3]:
            title = f"{case.title}: compiled, cudnn.benchmark"
            self._part(title, lambda case=case: self._time(case, True, tune=True))
        self._part("equality", lambda: self._compare(chosen[0]))
        self._part("fallback", lambda: self._fall_back(chosen[0]))
        self._part("not finite", lambda: self._not_finite(chosen[0]))
        for case in chosen[4:]:
            self._part(f"{case.title}: compiled", lambda case=case: self._time(case, True))
        if self._out is None and not self._small:
            text = "\n".join(self._lines)
            write_section("GPU, training", f"Steps, best of {_BLOCKS} blocks.\n\n```\n{text}\n```")

    def _say(self, text: str) -> None:
        line = f"{self._name} | {text}"
        print(line, flush=True)
        self._lines.append(line)
        if self._out is not None:
            with self._out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def _part(self, title: str, measure: Callable[[], Iterator[str]]) -> None:
        if time.monotonic() > self._end:
            self._say(f"{title} | left out, no time")
            return
        start = time.monotonic()
        try:
            for text in measure():
                self._say(f"{title} | {text}")
        except Exception:
            self._say(f"{title} | FAILED\n{traceback.format_exc()}")
        gc.collect()
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()
        print(f"({time.monotonic() - start:.1f} s for {title})", flush=True)

    def _trainer(self, case: Case, compiled: bool) -> tuple[Trainer, list[str]]:
        with tempfile.TemporaryDirectory() as folder:
            trainer = case.trainer(self._device, Path(folder))
        notices: list[str] = []
        if compiled:
            trainer.compile(notices.append)
        return trainer, notices

    def _time(self, case: Case, compiled: bool, tune: bool = False) -> Iterator[str]:
        torch.backends.cudnn.benchmark = tune
        start = time.monotonic()
        trainer, notices = self._trainer(case, compiled)
        wave = case.wave(self._device)
        self._reset_peak()
        for _ in range(6):
            values = trainer.train_step(wave)
        self._wait()
        first = time.monotonic() - start
        best = min(self._block(trainer, wave) for _ in range(_BLOCKS))
        torch.backends.cudnn.benchmark = False
        losses = " ".join(f"{name} {float(value):.4g}" for name, value in values.items())
        yield (
            f"{1000 * best:.1f} ms a step of {case.batch} x {case.seconds:g} s; first six "
            f"{first:.1f} s; peak {self._peak():.1f} GB{'; ' if notices else ''}{' '.join(notices)}"
        )
        yield f"losses after {6} steps: {losses}"

    def _block(self, trainer: Trainer, wave: Tensor) -> float:
        start = time.perf_counter()
        for _ in range(_STEPS):
            trainer.train_step(wave)
        self._wait()
        trainer.check_finite()
        return (time.perf_counter() - start) / _STEPS

    def _wait(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)

    def _reset_peak(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(self._device)

    def _peak(self) -> float:
        if not self._device.startswith("cuda"):
            return 0.0
        return torch.cuda.max_memory_reserved(self._device) / 1e9

    def _compare(self, case: Case) -> Iterator[str]:
        """The same ten steps, twice one by one and once captured: how far losses are apart."""
        runs = []
        for compiled in (False, False, True):
            trainer, _ = self._trainer(case, compiled)
            wave = case.wave(self._device)
            runs.append([float(trainer.train_step(wave.roll(k, 2))["total"]) for k in range(10)])
        eager, again, captured = (torch.tensor(run, dtype=torch.float64) for run in runs)
        for name, other in (("eager", again), ("captured", captured)):
            worst = float(((other - eager) / eager).abs().max())
            yield f"{name} against eager, 10 steps: total loss within {worst:.1e} of its value"
        yield f"total: {' '.join(f'{value:.5g}' for value in runs[2])}"

    def _loop(self, case: Case) -> Iterator[str]:
        """The trainer's own loop, on crops with every augmentation of noise that lies there."""
        augmentation = Augmentation(
            gain_db=8.0, noise_probability=0.3, speed_probability=0.3, equalizer_probability=0.5
        )
        clips: Any = [_Noise(number, 20.0) for number in range(30)]
        chooser = CropChooser(clips, clips[:3], augmentation, seed=0)
        device = torch.device(self._device)
        samples = case.wave("cpu").shape[-1]
        data = DeviceCrops(
            chooser, samples, lambda: SampleBank(chooser.clips(), _Noise.read, device)
        )
        with tempfile.TemporaryDirectory() as folder:
            trainer = case.trainer(self._device, Path(folder))
            steps = 4 if self._small else 80
            trainer.config = replace(trainer.config, max_steps=steps, log_every=steps // 4)
            trainer.data = data
            lines: list[str] = []
            trainer.run(
                Callbacks(
                    progress=lambda p: lines.append(
                        f"step {p.step}: {1000 / p.steps_per_second:.1f} ms a step, waited for "
                        f"data {p.data_wait:.1%} of the time, total {p.losses['total']:.4g}"
                    ),
                    notice=lines.append,
                )
            )
        yield from lines
        start = time.perf_counter()
        for step in range(10):
            data.batch(step, case.batch)
        self._wait()
        yield f"a batch alone takes {100 * (time.perf_counter() - start):.1f} ms"

    def _not_finite(self, case: Case) -> Iterator[str]:
        """Steps after one on a wave that is not finite."""
        trainer, notices = self._trainer(case, True)
        wave = case.wave(self._device)
        for _ in range(5):
            trainer.train_step(wave)
        trainer.check_finite()
        before = [value.clone() for value in trainer.network.parameters()]
        with contextlib.suppress(NonFiniteError):
            trainer.train_step(wave * torch.nan)
            trainer.train_step(wave)
            trainer.check_finite()
        pairs = zip(before, trainer.network.parameters(), strict=True)
        same = all(torch.equal(a, b) for a, b in pairs)
        yield f"at step {trainer.step} of 5; weights unchanged: {same}; notices: {notices}"

    def _fall_back(self, case: Case) -> Iterator[str]:
        """A step that reads a value back, which a capture forbids."""
        trainer, notices = self._trainer(case, True)
        weighted_sum = trainer.codec_loss.weighted_sum

        def reading(losses: dict[str, Tensor]) -> Tensor:
            total = weighted_sum(losses)
            total.item()
            return total

        trainer.codec_loss.weighted_sum = reading  # type: ignore[method-assign]
        wave = case.wave(self._device)
        totals = [float(trainer.train_step(wave)["total"]) for _ in range(6)]
        trainer.check_finite()
        yield f"notices: {notices}; total: {' '.join(f'{value:.4g}' for value in totals)}"

    def _profile(self, case: Case) -> Iterator[str]:
        """Kernels of one step that is launched one by one."""
        trainer, _ = self._trainer(case, False)
        wave = case.wave(self._device)
        for _ in range(3):
            trainer.train_step(wave)
        self._wait()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
            trainer.train_step(wave)
            self._wait()
        averages = recorded.key_averages()
        kernels = [e for e in averages if e.device_type == DeviceType.CUDA]
        total = sum(e.self_device_time_total for e in kernels)
        calls = sum(e.count for e in averages if e.key.startswith("aten::"))
        yield (
            f"{sum(e.count for e in kernels)} kernels and copies, {total / 1000:.1f} ms of the "
            f"device; {calls} operator calls, nested ones included"
        )
        for event in sorted(kernels, key=lambda e: -e.self_device_time_total)[:_SHOWN_KERNELS]:
            yield (
                f"  {event.self_device_time_total / 1000:.2f} ms, {event.count} times: "
                f"{event.key[:90]}"
            )
