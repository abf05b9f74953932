"""Training on a CPU: a training step compared with that of the published modules.

    python -m benchmarks.training CHECKOUT [--preset bigcodec-base --batch-size 4]
    python -m benchmarks.training CHECKOUT --preset bigcodec --batch-size 1

CHECKOUT is a clone of https://github.com/Aria-K-Alethia/BigCodec, whose training module is driven
by `published_training`; it needs einops. Both sides begin with the same random weights and are
given the same noise, float32, all losses, all discriminators. Each runs in a process of its
own, so that its memory can be measured; they take steps in turn.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

from benchmarks import checks, rates, step_profile
from benchmarks.published import WIDTHS
from benchmarks.published_training import PublishedStep
from benchmarks.report import load_before, machine, table, write_section
from bigcodec_models.checkpoints.published import adapt
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.data.crops import CropSource, scan
from bigcodec_models.discriminators.published import adapt_discriminators
from bigcodec_models.training.config import recipe_for, with_settings
from bigcodec_models.training.trainer import Trainer

_TARGET_SPEEDUP = 2.0  # times faster
_WEIGHTS = "weights.pt"


@dataclasses.dataclass(frozen=True)
class Task:
    """The work of both sides; `folder` is for files that they share."""

    checkout: Path
    preset: str
    batch_size: int
    seconds: float
    threads: int
    folder: Path

    def wave(self) -> Tensor:
        """Noise (B, 1, N)."""
        samples = round(self.seconds * SAMPLE_RATE)
        waves = [torch.from_numpy(checks.noise(samples, seed)) for seed in range(self.batch_size)]
        return torch.stack(waves).unsqueeze(1)


def main() -> None:
    """Run the benchmark of one preset and write its section."""
    options = _parse()
    load = load_before()
    with tempfile.TemporaryDirectory() as name:
        task = Task(
            checkout=options.checkout.resolve(),
            preset=options.preset,
            batch_size=options.batch_size,
            seconds=options.seconds,
            threads=options.threads,
            folder=Path(name),
        )
        text = _report(task, options.rounds, options.profile)
    title = f"CPU, training {options.preset} beside the published code"
    text = f"{machine(load)}\n\n{text}"
    if options.dry_run:
        print(text)
    else:
        write_section(title, text)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--preset", choices=list(WIDTHS), default="bigcodec-base")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a crop")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="steps timed, after one that is not")
    parser.add_argument("--profile", action="store_true", help="the profile even if fast enough")
    parser.add_argument("--dry-run", action="store_true", help="print, and write nothing")
    return parser.parse_args()


# ---- the two sides, each in a process of its own ------------------------------------------


class Side:
    """A process that takes training steps on request."""

    def __init__(self, serve: Callable[[Connection, Task], None], task: Task) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, end = context.Pipe()
        self._process = context.Process(target=serve, args=(end, task), daemon=True)
        self._process.start()
        end.close()
        self._connection.recv()

    def ask(self, command: str) -> Any:
        """The answer to `step` (seconds, losses), `profile`, or `operations`."""
        self._connection.send(command)
        return self._connection.recv()

    def close(self) -> float:
        """End the process; returns the most memory it had, in GB."""
        memory = float(self.ask("end"))
        self._process.join()
        return memory


def _serve_published(connection: Connection, task: Task) -> None:
    torch.set_num_threads(task.threads)
    published = PublishedStep(task.checkout, task.preset)
    torch.save(published.weights(), task.folder / _WEIGHTS)
    wave = task.wave()
    _serve(connection, {"step": lambda: _timed(lambda: published.step(wave))})


def _serve_trainer(connection: Connection, task: Task) -> None:
    torch.set_num_threads(task.threads)
    trainer, wave = _trainer(task), task.wave()

    def step() -> dict[str, float]:
        return {name: float(loss) for name, loss in trainer.train_step(wave).items()}

    work: dict[str, Callable[[], object]] = {
        "step": lambda: _timed(step),
        "profile": lambda: step_profile.profiled(trainer, wave),
        "operations": lambda: step_profile.operations(trainer, wave),
    }
    _serve(connection, work)


def _serve(connection: Connection, work: dict[str, Callable[[], object]]) -> None:
    connection.send("ready")
    while (command := connection.recv()) != "end":
        connection.send(work[command]())
    unit = 1 if sys.platform == "darwin" else 1024
    connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9)


def _timed(step: Callable[[], dict[str, float]]) -> tuple[float, dict[str, float]]:
    start = time.perf_counter()
    losses = step()
    return time.perf_counter() - start, losses


def _trainer(task: Task) -> Trainer:
    """A trainer with the recipe of the preset and the weights of the published side.

    The LSTM of bigcodec-base has no dropout here, as the published modules have none.
    """
    weights = torch.load(task.folder / _WEIGHTS)
    of_codec = ("CodecEnc.", "generator.")
    tensors, config = adapt({k: v for k, v in weights.items() if k.startswith(of_codec)})
    settings = {"batch_size": task.batch_size, "crops": {"seconds": task.seconds}}
    recipe = with_settings(recipe_for(config), settings)
    soundfile.write(task.folder / "noise.wav", checks.noise(SAMPLE_RATE), SAMPLE_RATE)
    data = CropSource(scan(task.folder), crop=SAMPLE_RATE, seed=0)
    trainer = Trainer(config, recipe, data, task.folder / "run", "cpu")
    trainer.start_from(tensors, discriminators=adapt_discriminators(weights))
    return trainer


# ---- the report ---------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Result:
    """Of one side: best seconds of a step, peak memory in GB, losses of the first step."""

    seconds: float
    memory: float
    losses: dict[str, float]


def _report(task: Task, rounds: int, with_profile: bool) -> str:
    published = Side(_serve_published, task)
    trainer = Side(_serve_trainer, task)
    first = [side.ask("step")[1] for side in (published, trainer)]
    times = [[side.ask("step")[0] for side in (published, trainer)] for _ in range(rounds)]
    best = [min(seconds) for seconds in zip(*times, strict=True)]
    published_result = Result(best[0], published.close(), first[0])
    ratio = best[0] / best[1]
    more = ""
    if ratio < _TARGET_SPEEDUP or with_profile:
        more = "\n\n" + trainer.ask("profile") + "\n\n" + _bound_text(task, trainer, best)
    text = _speed_text(task, rounds, published_result, Result(best[1], trainer.close(), first[1]))
    return text + more


def _speed_text(task: Task, rounds: int, published: Result, package: Result) -> str:
    audio = task.batch_size * task.seconds
    rows = [
        [name, f"{side.seconds:.2f}", f"{audio / side.seconds:.3f}", f"{side.memory:.1f}"]
        for name, side in (("published", published), ("bigcodec-cli", package))
    ]
    head = ["", "seconds a step", "seconds of audio a second", "peak memory, GB"]
    errors = {k: abs(package.losses[k] - v) / abs(v) for k, v in published.losses.items()}
    worst = max(errors, key=lambda name: errors[name])
    return (
        f"A step on {task.batch_size} x {task.seconds:g} s of noise with all losses, both "
        f"discriminators' step and the generator's, float32, {task.threads} threads, the same "
        f"random weights, best of {rounds} steps in turn:\n\n{table(head, rows)}\n\n"
        f"bigcodec-cli is {published.seconds / package.seconds:.2f} times faster. The losses of "
        f"the first step agree within {errors[worst]:.1e} of their values (the most: {worst})."
    )


def _bound_text(task: Task, trainer: Side, best: list[float]) -> str:
    count = trainer.ask("operations")
    torch.set_num_threads(task.threads)
    rate = rates.products()
    least = count / 1e9 / rate
    return (
        f"The products of a bigcodec-cli step are {count / 1e9:.0f} GFLOP. At the best rate of "
        f"products that this machine showed, {rate:.0f} GFLOP/s in float32, they alone take "
        f"{least:.2f} s: the step takes {best[1] / least:.2f} times as long, the published one "
        f"{best[0] / least:.2f} times."
    )


if __name__ == "__main__":
    main()
