"""The residual LSTM for inference on a CPU, as fast as memory can be read.

The products with the inputs are matrix products over many frames; the recurrent part is the
compiled loop of `kernels.lstm_numba`. Layers run in parallel, each some frames after the one below
it. Many streams can be advanced at once, so that each weight is read once for all of them; each
stream gets the results that it gets alone, bit for bit.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Barrier

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.kernels.lstm_numba import Floats, pack, padded_width, run_layer
from bigcodec_models.layers.lstm import LSTMState, ResidualLSTM

_STEP = 40
"""Frames after which the layer above may follow."""
_BLOCKS = (4 * _STEP, _STEP)
"""Frames per product with the inputs, in the first layer and in those above. These are constants
since rounding depends on the shapes of products. The products of the first layer run on all threads
of torch, and are long because waking threads is costly; the others get one step at a time from the
layer below."""


class _Layer:
    """One layer's weights: those of the inputs as in torch, the recurrent ones packed."""

    def __init__(self, lstm: nn.LSTM, index: int, half: bool) -> None:
        input_bias = getattr(lstm, f"bias_ih_l{index}")
        recurrent_bias = getattr(lstm, f"bias_hh_l{index}")
        self.weight: Tensor = getattr(lstm, f"weight_ih_l{index}").detach()
        self.bias: Tensor = (input_bias + recurrent_bias).detach()
        self.packed = pack(getattr(lstm, f"weight_hh_l{index}").detach().numpy(), half)


class _Run:
    """One layer in one call: its state, and its outputs (B, T, width)."""

    def __init__(
        self, layer: _Layer, block: int, lengths: npt.NDArray[np.int64], width: int
    ) -> None:
        rows, frames = len(lengths), int(lengths[0])
        self.layer, self.block, self.lengths = layer, block, lengths
        self.gates = np.zeros((rows, min(block, frames), 4 * width), np.float32)
        self.hidden = np.zeros((rows, padded_width(width)), np.float32)
        self.cell = np.zeros((rows, width), np.float32)
        self.outputs = np.zeros((rows, frames, width), np.float32)
        self.finished: SimpleQueue[bool] = SimpleQueue()

    def run(self, inputs: Floats, below: SimpleQueue[bool] | None = None) -> None:
        """Compute all frames of `inputs` (B, T, width); with `below`, the layer that writes them,
        each step waits until its inputs are complete."""
        try:
            for first in range(0, inputs.shape[1], _STEP):
                if below is not None and not below.get():
                    return
                if first % self.block == 0:
                    self._multiply_inputs(inputs, first)
                self._step(first)
                self.finished.put(True)
        finally:
            self.finished.put(False)

    def _multiply_inputs(self, inputs: Floats, first: int) -> None:
        """Row by row, since the rounding of a product depends on its shape."""
        for row, length in enumerate(self.lengths):
            frames = torch.from_numpy(inputs[row, first : min(int(length), first + self.block)])
            if len(frames):
                gates = F.linear(frames, self.layer.weight, self.layer.bias)
                self.gates[row, : len(frames)] = gates.numpy()

    def _step(self, first: int) -> None:
        run_layer(
            self.gates,
            self.lengths,
            self.layer.packed,
            self.hidden,
            self.cell,
            self.outputs,
            first - first % self.block,
            first,
            min(first + _STEP, self.outputs.shape[1]),
        )


class FastResidualLSTM(nn.Module):
    """Replaces a `ResidualLSTM` for inference on a CPU.

    With `half`, recurrent weights are rounded to bfloat16, and all sums stay float32.
    """

    def __init__(self, original: ResidualLSTM, half: bool = False) -> None:
        super().__init__()
        lstm = original.lstm
        self.width = lstm.hidden_size
        self._layers = [_Layer(lstm, index, half) for index in range(lstm.num_layers)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, T) to the same shape, from a zero state."""
        rows = [x[row : row + 1] for row in range(len(x))]
        return torch.cat([output for output, _ in self.step_many(rows, [None] * len(rows))])

    def step_many(
        self, pieces: Sequence[Tensor], states: Sequence[LSTMState | None]
    ) -> list[tuple[Tensor, LSTMState]]:
        """Advance independent streams: (1, width, T) each, T at least 1."""
        order = sorted(range(len(pieces)), key=lambda i: -pieces[i].shape[-1])
        frames = [pieces[i][0].t().contiguous().numpy() for i in order]
        lengths = np.array([len(rows) for rows in frames], np.int64)
        blocks = (_BLOCKS[0], *(_BLOCKS[1],) * (len(self._layers) - 1))
        runs = [
            _Run(layer, block, lengths, self.width)
            for layer, block in zip(self._layers, blocks, strict=True)
        ]
        _load_states(runs, [states[i] for i in order])
        inputs = np.zeros((len(frames), int(lengths[0]), self.width), np.float32)
        for row, values in enumerate(frames):
            inputs[row, : len(values)] = values
        _run_layers(runs, inputs)
        results: list[tuple[Tensor, LSTMState]] = [None] * len(order)  # type: ignore[list-item]
        for row, index in enumerate(order):
            output = torch.from_numpy(runs[-1].outputs[row : row + 1, : lengths[row]])
            results[index] = (output.transpose(1, 2) + pieces[index], _state_of(runs, row))
        return results


def _run_layers(runs: Sequence[_Run], inputs: Floats) -> None:
    """Run all layers on inputs (B, T, width), each on its own thread if torch may use several."""
    if torch.get_num_threads() == 1 or len(runs) == 1:
        for run in runs:
            run.run(inputs)
            inputs = run.outputs
        return
    pool = _pool(len(runs) - 1)
    others = [
        pool.submit(run.run, below.outputs, below.finished)
        for below, run in itertools.pairwise(runs)
    ]
    runs[0].run(inputs)
    for other in others:
        other.result()


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads on which torch computes matrix products with one thread each."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="lstm")
    threads, barrier = torch.get_num_threads(), Barrier(workers)

    def use_one_thread() -> None:
        torch.set_num_threads(1)
        barrier.wait()

    for future in [pool.submit(use_one_thread) for _ in range(workers)]:
        future.result()
    # The setting belongs to each thread, but new threads start with the last one that was made.
    torch.set_num_threads(threads)
    return pool


def _load_states(runs: Sequence[_Run], states: Sequence[LSTMState | None]) -> None:
    for row, state in enumerate(states):
        if state is not None:
            for layer, run in enumerate(runs):
                width = run.cell.shape[1]
                run.hidden[row, :width] = state[0][layer, 0].numpy()
                run.cell[row] = state[1][layer, 0].numpy()


def _state_of(runs: Sequence[_Run], row: int) -> LSTMState:
    hidden = np.stack([run.hidden[row : row + 1, : run.cell.shape[1]] for run in runs])
    cell = np.stack([run.cell[row : row + 1] for run in runs])
    return torch.from_numpy(hidden), torch.from_numpy(cell)
