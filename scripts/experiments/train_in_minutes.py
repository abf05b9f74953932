"""Trains a lite codec that predicts F0, in the minutes for which a GPU is lent.

    python scripts/experiments/train_in_minutes.py --speech BANK... --init WEIGHTS --out RUN

An experiment beside the project's trainer, whose modules it uses. What differs: all speech lies on
the device as 16-bit samples, every step is one CUDA graph, and schedules follow elapsed time, so
that the run ends when it must. BANK files are made by decode_speech.py; further ones that appear
beside them later are taken up while it runs. On a CPU it compares sequence layers
(`--sequence lstm`), without graphs.
"""

from __future__ import annotations

import argparse
import functools
import glob
import json
import math
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from learner import NAMES, Learner
from speech_bank import Bank, Batches
from torch import Tensor, nn

from bigcodec_models.quantization import codebooks


def select_rows(tokens: Tensor, table: Tensor, *_: Any) -> Tensor:
    """F.embedding whose backward pass does not ask the device for a count."""
    return table.index_select(0, tokens.flatten()).view(*tokens.shape, -1)


def cosine(x: float, high: float, low: float) -> float:
    return low + (high - low) * 0.5 * (1 + math.cos(math.pi * min(max(x, 0.0), 1.0)))


def graphed(step: Callable[[], None], say: Callable[[str], None]) -> Callable[[], None]:
    """The step as one CUDA graph, after three steps that warm it up; itself if that fails."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
    except Exception as error:
        say(f"no graph: {error!r}")
        torch.cuda.synchronize()
        return step
    return graph.replay


def profiled(step: Callable[[], None]) -> str:
    """A table of what the kernels of a step take, over three steps after two others."""
    for _ in range(2):
        step()
    with torch.profiler.profile() as profile:
        for _ in range(3):
            step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    table: str = profile.key_averages().table(sort_by=order, row_limit=60, max_name_column_width=90)
    return table


def parse() -> argparse.Namespace:
    p = argparse.ArgumentParser()
    p.add_argument("--speech", nargs="+", required=True, help="globs of banks")
    p.add_argument("--noise")
    p.add_argument("--init")
    p.add_argument("--out", required=True)
    p.add_argument("--device", default="cuda")
    p.add_argument("--sequence", default="attention")
    p.add_argument("--seconds", type=float, default=600)
    p.add_argument("--deadline", type=float, default=0, help="unix time; overrides --seconds")
    p.add_argument("--first-phase", type=float, default=0.3, help="share without discriminators")
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--crop", type=float, default=3.0)
    p.add_argument("--segment", type=float, default=0.6, help="that discriminators see")
    p.add_argument("--hours", type=float, default=60)
    p.add_argument("--weights", default="{}")
    p.add_argument("--rates", type=float, nargs=4, default=[1.5e-3, 7e-4, 6e-4, 1e-5])
    p.add_argument("--rate-d", type=float, default=3e-4)
    p.add_argument("--f0-weight", type=float, default=10.0)
    p.add_argument("--predicted", type=float, nargs=2, default=[0.2, 0.7])
    p.add_argument("--mask-frames", type=float, default=0.0, help="noise in place of so many")
    p.add_argument("--rotate-phases", action="store_true", help="before discriminators")
    p.add_argument("--profile", action="store_true", help="print what the kernels of a step take")
    p.add_argument("--frozen", help="folder with distillmos: a loss on its features")
    p.add_argument("--frozen-weight", type=float, default=10.0)
    p.add_argument("--eq-db", type=float, default=6.0)
    p.add_argument("--eq-share", type=float, default=0.5)
    p.add_argument("--noise-share", type=float, default=0.3)
    p.add_argument("--gain-db", type=float, default=8.0)
    p.add_argument("--ema", type=float, default=0.999)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--max-steps", type=int, default=10**9)
    p.add_argument("--every", type=int, default=100)
    p.add_argument("--validate", type=int, default=1000)
    p.add_argument("--no-graph", action="store_true")
    return p.parse_args()


class Run:
    """The loop: rates by elapsed time, a step, reports, averages saved now and then."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.o = options
        self.device = torch.device(options.device)
        self.begun = time.time()
        os.makedirs(options.out, exist_ok=True)
        torch.manual_seed(options.seed)
        self.learner = Learner(options, self.device)
        self.bank = Bank(self.device, options.hours, options.seed)
        self.random = torch.Generator().manual_seed(options.seed + 2)
        self.phase, self.step = -1, 0
        self.usage, self.kept = (0, 0.0), list[Tensor]()
        self.run_step: Callable[[], None] = lambda: None

    def say(self, line: str) -> None:
        """A line on stdout and in the log."""
        text = f"{time.time() - self.begun:.0f}s {line}"
        print(text, flush=True)
        with open(f"{self.o.out}/log.txt", "a") as file:
            file.write(text + "\n")

    def take_speech(self) -> None:
        for line in self.bank.take_new(self.o.speech, json.loads(self.o.weights)):
            self.say(line)

    def main(self) -> None:
        o, learner = self.o, self.learner
        size = sum(p.numel() for p in learner.network.parameters())
        self.say(f"parameters {size / 1e6:.2f} M; {vars(o)}")
        for path in sorted(glob.glob(o.init or "")):
            self.say(learner.load(path))
        while not self.bank.used:
            self.take_speech()
            time.sleep(0.2)
        noise = torch.from_numpy(np.load(o.noise)["audio"]).to(self.device) if o.noise else None
        batches = Batches(self.bank, noise, o)
        self.started = self.last = saved = time.time()
        self.end = o.deadline or self.started + o.seconds
        while time.time() < self.end and self.step < o.max_steps:
            self.one_step(batches)
            if time.time() - saved > 90:
                learner.save(o.out, self.step, discriminators=False)
                saved = time.time()
        learner.save(o.out, self.step, discriminators=self.phase > 0)
        self.say(f"done, step {self.step}, val {learner.validate(self.bank.held)}")
        with open(f"{o.out}/done", "w") as file:
            file.write("done")

    def one_step(self, batches: Batches) -> None:
        o, learner = self.o, self.learner
        adversarial = self.set_rates()
        learner.wave.copy_(batches.next(o.batch, learner.crop))
        learner.f0_random.uniform_()
        learner.phases.normal_().mul_(math.pi)
        spare = learner.crop - learner.segment
        learner.segment_start.fill_(int(torch.randint(spare + 1, (), generator=self.random)))
        if self.phase != adversarial:
            self.begin_phase(adversarial)
        self.run_step()
        self.step += 1
        if self.step % 50 == 0:
            elapsed = (time.time() - self.started) / (self.end - self.started)
            self.usage = learner.count_codes(replace=elapsed < 0.7)
        if self.step % o.every == 0:
            self.report()
            self.take_speech()
            self.read_deadline()
        if self.step % o.validate == 0:
            self.say(f"step {self.step} val {learner.validate(self.bank.held)}")

    def set_rates(self) -> bool:
        """Set what follows the time; whether discriminators take part."""
        o, learner = self.o, self.learner
        x = (time.time() - self.started) / (self.end - self.started)
        adversarial = bool(x >= o.first_phase)
        if adversarial:
            y = (x - o.first_phase) / (1 - o.first_phase)
            self.rate = cosine(y, o.rates[2], o.rates[3]) * min(1.0, y * 50 + 0.1)
        else:
            y = x / max(o.first_phase, 1e-9)
            self.rate = cosine(y, o.rates[0], o.rates[1]) * min(1.0, (self.step + 1) / 200)
        learner.rate.fill_(self.rate)
        learner.rate_d.fill_(cosine(y, o.rate_d, 1e-5))
        learner.fresh.fill_(1 - min(o.ema, (1 + self.step) / (10 + self.step)))
        learner.predicted_share.fill_(o.predicted[0] + (o.predicted[1] - o.predicted[0]) * x)
        return adversarial

    def begin_phase(self, adversarial: bool) -> None:
        self.phase = int(adversarial)
        self.run_step = functools.partial(self.learner.step, adversarial)
        if self.o.profile:
            self.say(profiled(self.run_step))
        if self.device.type == "cuda" and not self.o.no_graph:
            self.run_step = graphed(self.run_step, self.say)
        self.say(f"phase {self.phase} begins at step {self.step}")

    def report(self) -> None:
        """Means since the last one; after something that is not finite, the weights of then."""
        learner, every = self.learner, self.o.every
        sums = (learner.sums / every).tolist()
        learner.sums.zero_()
        if not all(map(math.isfinite, sums)) and self.kept:
            self.say("not finite: back to the last good weights")
            torch._foreach_copy_([*learner.live, *learner.mean], self.kept)
            for state in learner.muon.state.values():
                state["momentum_buffer"].zero_()
            return
        self.kept = [v.clone() for v in (*learner.live, *learner.mean)]
        pairs = zip((*NAMES, "norm", "norm_d"), sums, strict=True)
        milliseconds = (time.time() - self.last) / every * 1000
        self.say(
            f"step {self.step} rate {self.rate:.2e} {milliseconds:.0f} ms used {self.usage[0]} "
            f"perplexity {self.usage[1]:.0f} {' '.join(f'{n} {v:.4g}' for n, v in pairs)}"
        )
        self.last = time.time()

    def read_deadline(self) -> None:
        """OUT/deadline, a unix time, moves the end while it runs."""
        path = f"{self.o.out}/deadline"
        if os.path.exists(path):
            with open(path) as file:
                self.end = float(file.read())


if __name__ == "__main__":
    nn.functional.embedding = select_rows  # type: ignore[assignment]
    chosen = parse()
    if chosen.device.startswith("cuda"):
        codebooks._SCORES_AT_ONCE = 1 << 28
        torch.backends.cudnn.benchmark = True
    Run(chosen).main()
