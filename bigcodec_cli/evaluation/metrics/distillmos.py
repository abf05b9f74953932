"""Overall quality as DistillMOS predicts it (Stahl and Gamper 2025), from its own package."""

from __future__ import annotations

import contextlib
import io
import sys
import types
from collections.abc import Iterator
from typing import Any

import torch

from bigcodec_cli.evaluation.packages import load_package
from bigcodec_models.arrays import Wave


class DistillMos:
    """The network of package distillmos, whose weights are in the package.

    Raises:
        MissingError: it is not installed.
    """

    def __init__(self) -> None:
        with _without_torchaudio():
            package: Any = load_package("distillmos", "distillmos")
        with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights are
            self._network = package.ConvTransformerSQAModel().eval()

    @torch.inference_mode()
    def __call__(self, _original: Wave, restored: Wave) -> float:
        """The predicted mean opinion of a wave (n,) at 16 kHz, 1 to 5; its level has no effect."""
        if not restored.any():
            raise ValueError("the wave is silent")
        return float(self._network(torch.from_numpy(restored)[None]))


@contextlib.contextmanager
def _without_torchaudio() -> Iterator[None]:
    """An empty module in the place of torchaudio, unless that is loaded.

    The package imports it for a command of its own, which is not used here; the torchaudio of PyPI
    cannot be loaded beside a build of torch for CPUs.
    """
    name = "torchaudio"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = types.ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]
