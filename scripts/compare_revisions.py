"""Whether two revisions of this repository give the same results, number by number.

    .venv/bin/python scripts/compare_revisions.py OLD [NEW]

OLD and NEW are anything that git knows; without NEW it is the working tree. Each is run by its own
command line, on the same clip: what coded files hold, the tokens and samples of the shipped model
and of the published architecture's golden checkpoint, the losses and weights of a short training
run on one thread, and a prior fitted to tokens. Prints a line for each; exits 1 if any differ.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "examples" / "speech.flac"
GOLDEN = next(ROOT.glob("tests/**/golden_release.pt"))
SHIPPED = "lite-5"
STEPS = 12


class Revision:
    """The command line of a source tree, with a store of models and files of its own."""

    def __init__(self, tree: Path, work: Path) -> None:
        self._work = work
        roots = [tree, tree / "format", tree / "models"]
        self._environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, roots)),
            "BIGCODEC_HOME": str(work / "home"),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *arguments: str | Path) -> str:
        """What a command prints; its failure is ours."""
        start = "from bigcodec_cli.main import main; main()"
        command = [sys.executable, "-P", "-c", start, *map(str, arguments)]
        result = subprocess.run(
            command, env=self._environment, cwd=self._work, capture_output=True, text=True
        )
        if result.returncode:
            raise SystemExit(f"bigcodec {' '.join(map(str, arguments))}: {result.stderr}")
        return result.stdout

    def results(self) -> Iterator[tuple[str, str]]:
        """Name and digest of everything that should stay as it is."""
        self.run("models", "import", GOLDEN, "--name", "golden")
        for model in (SHIPPED, "golden"):
            yield from self._coding(model)
        yield from self._training()

    def _coding(self, model: str) -> Iterator[tuple[str, str]]:
        coders = ["raw", "adaptive"] + ["prior"] * (model == SHIPPED)
        for coder in coders:
            coded = self._work / f"{model}-{coder}.bcdc"
            self.run("compress", CLIP, "--model", model, "--coder", coder, "-o", coded)
            yield f"{model}: bytes of --coder {coder}", _digest(coded.read_bytes())
        tokens = self._work / f"{model}.npy"
        self.run("tokens", "extract", coded, "-o", tokens)
        yield f"{model}: tokens", _digest(np.load(tokens).astype("<i4").tobytes())
        wave = self._work / f"{model}.wav"
        self.run("decompress", coded, "--pcm", "float", "-o", wave)
        samples, _ = soundfile.read(wave, dtype="float32")
        yield f"{model}: samples", _digest(samples.tobytes())

    def _training(self) -> Iterator[tuple[str, str]]:
        speech, run = self._work / "speech", self._work / "run"
        _cut_clip(speech)
        settings = ("batch_size=2", "log_every=1", f"max_steps={STEPS}")
        chosen = [part for setting in settings for part in ("--set", setting)]
        self.run(
            "train", "--preset", "toy", "--data", speech, "--device", "cpu", "--out", run, *chosen
        )
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        totals = [row["losses"]["total"] for row in log if "losses" in row]
        assert len(totals) == STEPS, "the log of a run has no total loss for each step"
        yield f"training: {STEPS} losses", _digest(np.array(totals).tobytes())
        exported = self._work / "run.safetensors"
        self.run("export", run, "-o", exported)
        yield "training: weights", _digest(_tensor_bytes(exported))
        prior = self._work / "run.bcdp"
        self.run(
            *("train-prior", "--model", exported, "--data", speech, "--device", "cpu"),
            *("--epochs", "1", "--width", "16", "-o", prior),
        )
        yield "prior: bytes without its model", _digest(prior.read_bytes()[64:])


def main() -> None:
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("old")
    parser.add_argument("new", nargs="?")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        old, new = (dict(_run(name, stack)) for name in (options.old, options.new))
    names = list(dict.fromkeys([*old, *new]))
    for name in names:
        same = old.get(name) == new.get(name)
        print(f"{'equal ' if same else 'DIFFERS'}  {name}  {old.get(name)}  {new.get(name)}")
    sys.exit(any(old.get(name) != new.get(name) for name in names))


def _run(revision: str | None, stack: contextlib.ExitStack) -> Iterator[tuple[str, str]]:
    work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    tree = ROOT
    if revision is not None:
        tree = work / "tree"
        _git("worktree", "add", "--detach", str(tree), revision)
        stack.callback(_git, "worktree", "remove", "--force", str(tree))
    return Revision(tree, work).results()


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True)


def _cut_clip(folder: Path) -> None:
    """The clip as files of three seconds, so that there is something to validate on."""
    folder.mkdir()
    samples, rate = soundfile.read(CLIP, dtype="int16")
    for start in range(0, len(samples) - 3 * rate, 2 * rate):
        soundfile.write(folder / f"{start}.wav", samples[start : start + 3 * rate], rate)


def _tensor_bytes(path: Path) -> bytes:
    """The tensors of a model file, without its metadata."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return content[8 + length :]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


if __name__ == "__main__":
    main()
