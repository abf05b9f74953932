"""How much a host does for a training step: calls of operators, and waits for the device.

    python -m benchmarks.launches

Counted on the CPU with small batches, where the graph is that of a GPU, and each kernel of ours
counts as a call. A call is at least one launch of a kernel on a GPU, unless the step is a CUDA
graph, which is one launch for all; one on a list of tensors (`_foreach_...`) is some, about one for
each 50 to 100 tensors. Calls that launch nothing stand apart: those that only make views, and those
that only reserve memory or note something.

Calls of a backward pass count for the part whose forward pass they belong to.
"""

from __future__ import annotations

import bisect
import collections
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.report import table, write_section
from bigcodec_models.architectures.lite import ConvNeXtBlock
from bigcodec_models.config import PRESETS, SAMPLE_RATE
from bigcodec_models.config_values import merged
from bigcodec_models.kernels import snake_beta_numba
from bigcodec_models.layers import precomputed
from bigcodec_models.layers.attention import AttentionLayer
from bigcodec_models.training import step
from bigcodec_models.training.config import recipe_for, with_settings
from bigcodec_models.training.trainer import Trainer

_VIEWS = frozenset(
    "view t transpose expand unsqueeze squeeze permute slice select as_strided detach alias unbind "
    "split chunk _unsafe_view view_as_real view_as_complex unfold narrow _reshape_alias "
    "split_with_sizes lift_fresh real imag diagonal".split()
)
_NOTHING = frozenset(
    "empty empty_like empty_strided new_empty new_empty_strided promote_types scalar_tensor "
    "_record_function_enter_new _record_function_exit".split()
)
_WAITS = frozenset(("_local_scalar_dense", "nonzero", "equal", "is_nonzero"))
_CASES = (("lite", "none"), ("lite", "published"), ("bigcodec-base", "none"))
_CASES += (("bigcodec-base", "published"),)
_BATCH = {"batch_size": 2, "crops": {"seconds": 1.0}, "adversarial": {"start_step": 0, "every": 1}}
_SHOWN = 6


class Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators: `counts` by name, `parts` by the part of a step; `views` and `nothing` are
    those that launch no kernel."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: collections.Counter[str] = collections.Counter()
        self.parts: collections.Counter[str] = collections.Counter()
        self.views = self.nothing = 0
        self._within = ["the rest"]
        # Nodes of the graph have increasing numbers: where each part made its own.
        self._numbers: list[int] = []
        self._makers: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.partition("::")[2]
        if func.namespace != "prim":
            self.count(name)
        return func(*args, **(kwargs or {}))

    def count(self, name: str) -> None:
        """Count a call, for the part that is running or that made the node of the graph."""
        part = self._part()
        if name.rstrip("_") in _VIEWS:
            self.views += 1
        elif name in _NOTHING:
            self.nothing += 1
        else:
            self.counts[name] += 1
            self.parts[part] += 1

    def _part(self) -> str:
        node = torch._C._current_autograd_node()
        if node is not None:
            place = bisect.bisect_left(self._numbers, node._sequence_nr() + 1)
            return self._makers[place] if place < len(self._makers) else self._within[0]
        self._numbers.append(torch._C._autograd._get_sequence_nr())
        self._makers.append(self._within[-1])
        return self._within[-1]

    @contextlib.contextmanager
    def within(self, part: str) -> Iterator[None]:
        """A context in which calls are those of `part`."""
        self._within.append(part)
        yield
        self._within.pop()


def counted(preset: str, discriminators: str) -> Calls:
    """The operators of one step, the second of a run."""
    settings = merged(_BATCH, {"discriminators": {"preset": discriminators}})
    model = PRESETS[preset]
    if preset == "lite":
        settings = merged(settings, {"optimizer": {"kind": "muon"}})
    config = with_settings(recipe_for(model), settings)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        trainer = Trainer(model, config, None, Path(folder), "cpu")  # type: ignore[arg-type]
        wave = 0.05 * torch.randn(2, 1, SAMPLE_RATE, generator=torch.Generator().manual_seed(1))
        trainer.train_step(wave)
        calls = Calls()
        _name_parts(trainer, calls, stack)
        stack.enter_context(calls)
        trainer.train_step(wave)
    return calls


def _name_parts(trainer: Trainer, calls: Calls, stack: contextlib.ExitStack) -> None:
    network, losses = trainer.network, trainer.codec_loss
    named: list[tuple[Any, str, str]] = [
        (network.encoder, "forward", "encoder, ends"),
        (network.quantizer, "forward", "quantizer"),
        (losses, "_mel_losses", "mel losses"),
        (losses, "discriminator_losses", "discriminators, their losses"),
        (losses, "_adversarial_losses", "discriminators, their losses"),
        (losses, "discriminate", "discriminators, layers"),
        (step, "clipped_gradients", "gradient norm"),
        (step, "approach", "moving average"),
        (precomputed, "_share_weights", "weight norm"),
        (precomputed, "_share_scales", "scales of SnakeBeta"),
    ]
    decoder = "restore" if network.predicts_f0 else "forward"
    named.append((network.decoder, decoder, "decoder, ends"))
    if network.tracker is not None:
        named.append((network.tracker, "forward", "F0 tracker"))
    named += [(optimizer, "step", "optimizers") for optimizer in trainer.optimizers.values()]
    kinds: dict[type[nn.Module], str] = {ConvNeXtBlock: "ConvNeXt blocks"}
    kinds[AttentionLayer] = "attention layers"
    named += [(m, "forward", kinds[type(m)]) for m in network.modules() if type(m) in kinds]
    for owner, method, part in named:
        _name(stack, calls, owner, method, part)
    run = snake_beta_numba._run
    stack.callback(lambda: setattr(snake_beta_numba, "_run", run))

    def counting(*args: Any) -> None:
        calls.count("snake_beta kernel")
        run(*args)

    snake_beta_numba._run = counting


def _name(stack: contextlib.ExitStack, calls: Calls, owner: Any, method: str, part: str) -> None:
    """Let the calls of a method count for a part, until the stack unwinds."""
    original: Callable[..., Any] = getattr(owner, method)

    def named(*args: Any, **kwargs: Any) -> Any:
        with calls.within(part):
            return original(*args, **kwargs)

    own = method in vars(owner)
    setattr(owner, method, named)
    stack.callback(lambda: setattr(owner, method, original) if own else delattr(owner, method))


def main() -> None:
    """Count, print and write the section."""
    rows, parts = [], dict[str, collections.Counter[str]]()
    for preset, discriminators in _CASES:
        calls = counted(preset, discriminators)
        most = ", ".join(f"{name} {n}" for name, n in calls.counts.most_common(_SHOWN))
        waits = sum(n for name, n in calls.counts.items() if name in _WAITS)
        rows.append([preset, discriminators, str(calls.counts.total()), str(waits)])
        rows[-1] += [str(calls.views), str(calls.nothing), most]
        parts[f"{preset}, {discriminators}"] = calls.parts
        print(*rows[-1], sep=" | ", flush=True)
    head = ["preset", "discriminators", "calls", "waits", "views", "nothing", "most frequent"]
    names = sorted({name for counts in parts.values() for name in counts})
    by_part = [[name, *(str(counts[name] or "") for counts in parts.values())] for name in names]
    text = table(head, rows) + "\n\n" + table(["calls by part", *parts], by_part)
    print(text)
    write_section("Launches of a training step", text)


if __name__ == "__main__":
    main()
