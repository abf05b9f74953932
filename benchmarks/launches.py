"""How much a host does for a training step: calls of operators, and waits for the device.

    python -m benchmarks.launches

Counted on the CPU with small batches, where the graph is that of a GPU: every call that computes
something is at least one launch of a kernel there, unless the step is a CUDA graph, which is one
launch. Calls that only make views count as none.
"""

from __future__ import annotations

import collections
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.report import table, write_section
from bigcodec_models.config import PRESETS, SAMPLE_RATE
from bigcodec_models.config_values import merged
from bigcodec_models.training.config import recipe_for, with_settings
from bigcodec_models.training.trainer import Trainer

_VIEWS = frozenset(
    "view t transpose expand unsqueeze squeeze permute slice select as_strided detach alias unbind "
    "split chunk _unsafe_view view_as_real view_as_complex unfold narrow _reshape_alias "
    "split_with_sizes lift_fresh real imag diagonal".split()
)
_WAITS = frozenset(("_local_scalar_dense", "nonzero", "equal", "is_nonzero"))
_CASES = (("lite", "none"), ("lite", "published"), ("bigcodec-base", "none"))
_CASES += (("bigcodec-base", "published"),)
_BATCH = {"batch_size": 2, "crops": {"seconds": 1.0}, "adversarial": {"start_step": 0, "every": 1}}
_SHOWN = 6


class Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators by name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.partition("::")[2]
        if func.namespace != "prim" and name.rstrip("_") not in _VIEWS:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def counted(preset: str, discriminators: str) -> collections.Counter[str]:
    """The operators of one step, the second of a run."""
    settings = merged(_BATCH, {"discriminators": {"preset": discriminators}})
    model = PRESETS[preset]
    if preset == "lite":
        settings = merged(settings, {"optimizer": {"kind": "muon"}})
    config = with_settings(recipe_for(model), settings)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(model, config, None, Path(folder), "cpu")  # type: ignore[arg-type]
        wave = 0.05 * torch.randn(2, 1, SAMPLE_RATE, generator=torch.Generator().manual_seed(1))
        trainer.train_step(wave)
        with Calls() as calls:
            trainer.train_step(wave)
    return calls.counts


def main() -> None:
    """Count, print and write the section."""
    rows = []
    for preset, discriminators in _CASES:
        counts = counted(preset, discriminators)
        most = ", ".join(f"{name} {n}" for name, n in counts.most_common(_SHOWN))
        waits = sum(n for name, n in counts.items() if name in _WAITS)
        rows.append([preset, discriminators, str(counts.total()), str(waits), most])
        print(*rows[-1], sep=" | ", flush=True)
    head = ["preset", "discriminators", "calls", "waits", "most frequent"]
    write_section("Launches of a training step", table(head, rows))


if __name__ == "__main__":
    main()
