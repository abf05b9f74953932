"""Training steps as CUDA graphs: the host launches a step at once, not its thousands of kernels."""

from __future__ import annotations

import collections
from collections.abc import Callable

import torch
from torch import Tensor

from bigcodec_models.training.step import StepKind
from bigcodec_models.training.step_inputs import StepInputs

Step = Callable[[StepKind, StepInputs], dict[str, Tensor]]

_WARM_UP = 3
"""Steps of each kind before it is captured: kernels are compiled and chosen, optimizers make their
state."""
_IN_FLIGHT = 4
"""Steps that the host may be ahead of the device."""


class GraphedStep:
    """A step that is captured as a CUDA graph, one for each kind of step.

    Inputs are copied into tensors that stay where they are, and so are the values that a step
    returns: those of a kind are overwritten by the next step of it. Where a capture fails, `notice`
    gets one line, and steps run without graphs from then on.
    """

    def __init__(self, step: Step, device: torch.device, notice: Callable[[str], None]) -> None:
        self._step, self._device, self._notice = step, device, notice
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._inputs: StepInputs | None = None
        self._runs: collections.Counter[StepKind] = collections.Counter()
        self._graphs: dict[StepKind, torch.cuda.CUDAGraph] = {}
        self._values: dict[StepKind, dict[str, Tensor]] = {}
        self._in_flight: collections.deque[torch.cuda.Event] = collections.deque()
        self.captures = True
        """Whether steps are captured; False after a failure."""

    def __call__(self, kind: StepKind, inputs: StepInputs) -> dict[str, Tensor]:
        """Take a step, or have it taken; returns losses and gradient norms, scalars."""
        if not self.captures:
            return self._step(kind, inputs)
        own = self._place(inputs)
        if kind not in self._graphs and self._runs[kind] >= _WARM_UP and not self._capture(kind):
            return self._step(kind, inputs)
        if kind in self._graphs:
            self._graphs[kind].replay()
        else:
            self._warm_up(kind, own)
        self._wait_for_older()
        return self._values[kind]

    def _place(self, inputs: StepInputs) -> StepInputs:
        """Copy inputs to where the graphs read them."""
        own = self._inputs
        if own is None or own.wave.shape != inputs.wave.shape:
            self._graphs.clear()
            self._runs.clear()
            self._inputs = own = StepInputs(
                wave=inputs.wave.clone(),
                use_predicted_f0=_copy(inputs.use_predicted_f0),
                segment_start=inputs.segment_start,
                ema_weight=inputs.ema_weight,
            )
            return own
        own.wave.copy_(inputs.wave)
        if own.use_predicted_f0 is not None and inputs.use_predicted_f0 is not None:
            own.use_predicted_f0.copy_(inputs.use_predicted_f0, non_blocking=True)
        return own

    def _warm_up(self, kind: StepKind, inputs: StepInputs) -> None:
        """A step like any other, but on the stream of the captures."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            values = self._step(kind, inputs)
            if kind not in self._values:
                self._values[kind] = {name: torch.empty_like(v) for name, v in values.items()}
            self._store(kind, values)
        current.wait_stream(self._stream)
        self._runs[kind] += 1

    def _capture(self, kind: StepKind) -> bool:
        """Capture a step without taking it; whether that worked."""
        assert self._inputs is not None
        graph = torch.cuda.CUDAGraph()
        current = torch.cuda.current_stream(self._device)
        try:
            # The outer context restores the stream, which a capture that fails does not. Other
            # threads may use the device meanwhile.
            with (
                torch.cuda.stream(current),
                torch.cuda.graph(
                    graph, self._pool, self._stream, capture_error_mode="thread_local"
                ),
            ):
                self._store(kind, self._step(kind, self._inputs))
        except Exception as error:  # the libraries below raise errors of many kinds
            self.captures = False
            self._graphs.clear()
            torch.cuda.synchronize(self._device)
            self._notice(f"compile: no CUDA graph, steps are slower: {_cause(error)}")
            return False
        self._graphs[kind] = graph
        return True

    def _store(self, kind: StepKind, values: dict[str, Tensor]) -> None:
        own = self._values[kind]
        torch._foreach_copy_([own[name] for name in values], list(values.values()))

    def _wait_for_older(self) -> None:
        """Limit how far the host is ahead, so that it notices signals and the time in time."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        self._in_flight.append(event)
        if len(self._in_flight) > _IN_FLIGHT:
            self._in_flight.popleft().synchronize()


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()


def _cause(error: BaseException) -> str:
    """The first line of the error that came first."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).strip().split("\n")[0] or type(error).__name__
