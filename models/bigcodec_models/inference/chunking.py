"""Running a network over a stream in chunks, with the results of a single pass, in bounded memory.

The convolutional parts have a finite receptive field. They run over overlapping windows of one
fixed shape, and only the middle of each output is used. LSTMs, or the attention in their place,
carry a state from chunk to chunk. The grid of chunks depends only on positions in the file, so
that every way of coding a file computes products of the same shapes and rounds in the same way.

The arrays are those of an engine, torch tensors or numpy arrays; nothing here loads torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Sequence

from bigcodec_models.arrays import Array, join
from bigcodec_models.config import LiteConfig, ModelConfig
from bigcodec_models.inference.receptive_field import ReceptiveField
from bigcodec_models.layers.recurrence import Recurrence
from bigcodec_models.layers.state_reset import StreamState, run, warm_up_start

CHUNK_FRAMES = 640
"""New frames per window: 8 s at 80 frames a second."""
_WIDE = 3
"""Chunks per window for attention with lookahead: its receptive field is 0.4 of a chunk."""

FrameRange = tuple[int, int | None]
"""First frame, and the frame after the last; None for no end."""
Part = Callable[[Array], Array]
Bypass = Callable[[StreamState, Array], Array]
"""Maps the F0 channel (1, 1, n) of a stream to the channels (1, m, n) that join the output of the
recurrent stage."""
Scope = Callable[[], contextlib.AbstractContextManager[object]]


@dataclasses.dataclass(frozen=True)
class Window:
    """Inputs (1, channels, n) of a convolutional part, and the range of its outputs to use."""

    inputs: Array
    first: int
    last: int


class Windows:
    """The windows of a part with a finite receptive field over a stream of frames.

    Inputs are (1, channels, n * unit_in) with whole frames; outputs have `unit_out` values per
    frame. A window has `left + chunk + right` frames. The first one starts with the stream, so that
    the part pads only at the ends of the stream. The last one has the remaining frames, or with
    `reach_back` starts early enough to be as long as the others, for devices that prefer one shape.
    A stream shorter than a window is a single window. Chunks outside `output_range` are skipped.
    A stream may start late: the first input is that of frame `start`, and the first chunk begins at
    frame `begin`. With `growing` the first windows do not wait for as many frames as later ones
    have: each ends `right` frames after its chunk.
    """

    def __init__(
        self,
        field: ReceptiveField,
        unit_in: int,
        unit_out: int,
        output_range: FrameRange = (0, None),
        reach_back: bool = False,
        begin: int = 0,
        start: int = 0,
        chunk: int | None = None,
        growing: bool = False,
    ) -> None:
        self._chunk = chunk or CHUNK_FRAMES
        self._growing = growing
        self._field, self._unit_in, self._unit_out = field, unit_in, unit_out
        self._first, self._last = output_range
        self._reach_back = reach_back
        self._window = field.left + self._chunk + field.right
        self._buffer: Array | None = None
        self._start = start  # frame at which the buffer starts
        self._done = begin  # frames already returned or skipped
        self._closed = False

    def push(self, frames: Array) -> None:
        """Append inputs (1, channels, n * unit_in)."""
        self._buffer = frames if self._buffer is None else join([self._buffer, frames])

    def close(self) -> None:
        """Declare that no more inputs will come."""
        self._closed = True

    def take(self) -> Window | None:
        """The next complete window inside the output range, or None."""
        while (plan := self._plan()) is not None:
            window = self._cut(*plan)
            self._done = plan[1]
            self._forget()
            if window is not None:
                return window
        return None

    def ready(self) -> bool:
        """Whether `take` has something to do; at the end of a stream it may still return None."""
        return self._plan() is not None

    def finished(self) -> bool:
        """Whether no more windows will come."""
        if self._last is not None and self._done >= self._last:
            return True
        return self._closed and self._done >= self._available()

    def buffered(self) -> int:
        """Number of inputs in the buffer."""
        return 0 if self._buffer is None else self._buffer.shape[-1]

    def _available(self) -> int:
        return self._start + self.buffered() // self._unit_in

    def _plan(self) -> tuple[int, int, int] | None:
        """The first frame of the next window, and the ends of its chunk and of itself."""
        if self.finished():
            return None
        available = self._available()
        start = max(0, self._done - self._field.left)
        chunk = self._done + self._chunk
        stop = chunk + self._field.right if self._growing else start + self._window
        if available >= stop:
            return start, chunk, stop
        if not self._closed:
            return None
        return max(0, min(start, self._earliest())), available, available

    def _earliest(self) -> int:
        """The latest possible start of a window that ends with the buffer."""
        return self._available() - self._window if self._reach_back else self._available()

    def _cut(self, start: int, end: int, stop: int) -> Window | None:
        """The window of frames `start` to `stop`, of whose outputs those before `end` are new."""
        low = max(self._done, self._first)
        high = end if self._last is None else min(end, self._last)
        if low >= high:
            return None
        assert self._buffer is not None
        offset = (start - self._start) * self._unit_in
        inputs = self._buffer[..., offset : offset + (stop - start) * self._unit_in]
        return Window(inputs, (low - start) * self._unit_out, (high - start) * self._unit_out)

    def _forget(self) -> None:
        """Drop inputs that no later window needs."""
        assert self._buffer is not None
        needed = min(self._done - self._field.left, self._earliest())
        start = max(self._start, needed)
        self._buffer = self._buffer[..., (start - self._start) * self._unit_in :]
        self._start = start


class Stream:
    """A stream in a `Pipeline`: its windows before and after the recurrent stage, and its state."""

    def __init__(
        self, pre_recurrence: Windows, post_recurrence: Windows, position: int = 0
    ) -> None:
        self.pre_recurrence, self.post_recurrence = pre_recurrence, post_recurrence
        self.state = StreamState(position=position)

    def push(self, frames: Array) -> None:
        """Append inputs (1, channels, n * unit_in), whole frames."""
        self.pre_recurrence.push(frames)

    def close(self) -> None:
        """Declare that no more inputs will come."""
        self.pre_recurrence.close()

    def ready(self) -> bool:
        """Whether the pipeline can advance it without more inputs."""
        if self.pre_recurrence.finished():
            return not self.post_recurrence.finished()
        return self.pre_recurrence.ready() or self.post_recurrence.ready()

    def finished(self) -> bool:
        """Whether nothing more will come out."""
        return self.post_recurrence.finished()

    def is_short(self) -> bool:
        """Whether all frames go through the recurrent stage at once, which they have not yet."""
        return self.state.layer is None and self.pre_recurrence.finished()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineGrid:
    """A grid of shorter chunks, for outputs that follow their inputs soon. The last part has
    `chunk` new frames a window, the first `step`; they see at most `lookahead` frames after a
    chunk, both together."""

    chunk: int
    step: int
    lookahead: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The encoder or the decoder: convolutions, recurrent stage, convolutions, and their shapes.

    `batched` is for accelerators: windows of one shape are computed as a batch. On a CPU each
    window is computed alone: a batch would not be faster, and the rounding of matrix products
    depends on their shape. `short_lstm`, if given, runs the streams that are shorter than a window.
    The state is reset every `reset_every` frames (0: never; see `layers.state_reset`). With
    `has_f0` the last channel of `pre_recurrence` is F0, which `bypass` maps around the recurrent
    stage. A window has `chunks_a_window` times `CHUNK_FRAMES` new frames, before and after the
    recurrent stage; one of the two numbers divides the other. Where the recurrent stage has a
    bounded window, `chunks_before` maps the length of a chunk to the number of those that must run,
    from an empty state, before one whose outputs are those of a stream from the start.
    `scope` is entered around all computations. With a `fine` grid (see `on`) there is no output
    range.
    """

    pre_recurrence: Part
    lstm: Recurrence | None
    post_recurrence: Part
    receptive_fields: tuple[ReceptiveField, ReceptiveField]
    unit_in: int
    unit_out: int
    batched: bool = False
    short_lstm: Recurrence | None = None
    reset_every: int = 0
    has_f0: bool = False
    chunks_a_window: tuple[int, int] = (1, 1)
    chunks_before: Callable[[int], int] | None = None
    scope: Scope = contextlib.nullcontext
    bypass: Bypass = lambda _, f0: f0
    fine: FineGrid | None = None

    def on(self, grid: FineGrid) -> Pipeline:
        """The same pipeline on a finer grid, with receptive fields that end with its lookahead.

        Raises:
            ValueError: the lookahead is less than that of the part before the recurrent stage.
        """
        first, second = self.receptive_fields
        if grid.lookahead < first.right:
            raise ValueError(f"the lookahead must be at least {first.right} frames")
        second = second._replace(right=min(second.right, grid.lookahead - first.right))
        return dataclasses.replace(self, fine=grid, receptive_fields=(first, second))

    def stream(self, output_range: FrameRange = (0, None)) -> Stream:
        """A new stream, whose first input is that of frame `needed(output_range)[0]`; the part
        after the recurrent stage runs only for the frames of `output_range`."""
        whole, begin = (0, None), self._begin(output_range)
        start = self.needed(output_range)[0]
        before, after = self.receptive_fields
        batched, fine = self.batched, self.fine
        if fine is not None:
            queues = (
                Windows(before, self.unit_in, 1, whole, batched, chunk=fine.step, growing=True),
                Windows(after, 1, self.unit_out, whole, batched, chunk=fine.chunk, growing=True),
            )
            return Stream(*queues)
        chunks = self._chunks
        first = Windows(before, self.unit_in, 1, whole, batched, begin, start, chunks[0])
        second = Windows(after, 1, self.unit_out, output_range, batched, begin, begin, chunks[1])
        return Stream(first, second, begin)

    @property
    def chunk(self) -> int:
        """New frames per window, in the larger windows."""
        return max(self._chunks)

    @property
    def _chunks(self) -> tuple[int, int]:
        """New frames per window, before and after the recurrent stage."""
        before, after = self.chunks_a_window
        return before * CHUNK_FRAMES, after * CHUNK_FRAMES

    def needed(self, output_range: FrameRange) -> FrameRange:
        """The range of frames whose inputs a stream needs for the outputs of `output_range`."""
        first = max(0, self._begin(output_range) - self.receptive_fields[0].left)
        last = output_range[1]
        if last is not None:
            pairs = zip(self.receptive_fields, self._chunks, strict=True)
            for field, chunk in reversed(list(pairs)):
                chunks = -(-last // chunk) * chunk
                last = max(chunks, field.left + chunk) + field.right
        return first, last

    def _begin(self, output_range: FrameRange) -> int:
        """The frame, at the start of a chunk, from which a stream must run.

        The state of an LSTM depends on all frames since the last reset, and so does the phase of
        the harmonic excitation, which is a sum. Attention has a bounded window; once it is full,
        all products have the same shapes and values as in a stream from the start. Where windows
        reach back, their shapes depend on the whole stream.
        """
        if self.batched:
            return 0
        first = max(0, output_range[0] // self.chunk * self.chunk - self.receptive_fields[1].left)
        if self.reset_every:
            if self.lstm is None:
                begin = first // self.reset_every * self.reset_every
            else:
                begin = warm_up_start(first, self.reset_every)
            return begin // self.chunk * self.chunk
        if self.has_f0 or not (self.lstm is None or self.chunks_before is not None):
            return 0
        before = 0 if self.chunks_before is None else self.chunks_before(self.chunk)
        return max(0, first // self.chunk - before) * self.chunk

    def advance(self, streams: Sequence[Stream], at_once: int = 1) -> list[list[Array]]:
        """One round: the outputs (1, channels, n * unit_out) of each stream, from at most `at_once`
        windows of each before the recurrent stage, and those of as many frames after it."""
        pieces = self._through(
            [stream.pre_recurrence for stream in streams], self.pre_recurrence, at_once
        )
        self._recur(streams, pieces)
        for stream in streams:
            if stream.pre_recurrence.finished():
                stream.post_recurrence.close()
        before, after = self.chunks_a_window
        at_once *= max(1, before // after)
        return self._through(
            [stream.post_recurrence for stream in streams], self.post_recurrence, at_once
        )

    def _recur(self, streams: Sequence[Stream], pieces: Sequence[Sequence[Array]]) -> None:
        inputs = [
            (stream, join(windows))
            for stream, windows in zip(streams, pieces, strict=True)
            if windows
        ]
        short = [pair for pair in inputs if pair[0].is_short()]
        others = [pair for pair in inputs if not pair[0].is_short()]
        self._run(self.lstm if self.short_lstm is None else self.short_lstm, short)
        self._run(self.lstm, others)

    def _run(self, lstm: Recurrence | None, inputs: Sequence[tuple[Stream, Array]]) -> None:
        """Run the recurrent stage over the next frames of streams, and F0 around it."""
        states = [stream.state for stream, _ in inputs]
        f0 = [self._bypassed(stream.state, frames) for stream, frames in inputs]
        hidden = [frames[:, : frames.shape[1] - self.has_f0] for _, frames in inputs]
        outputs = run(lstm, states, hidden, self.reset_every)
        for (stream, _), output, channels in zip(inputs, outputs, f0, strict=True):
            stream.post_recurrence.push(join([output, *channels], 1))

    def _bypassed(self, state: StreamState, frames: Array) -> list[Array]:
        return [self.bypass(state, frames[:, -1:])] if self.has_f0 else []

    def _through(self, queues: Sequence[Windows], part: Part, at_once: int) -> list[list[Array]]:
        """The outputs of a part for at most `at_once` windows of each queue."""
        windows = [
            (index, window)
            for index, queue in enumerate(queues)
            for window in itertools.islice(iter(queue.take, None), at_once)
        ]
        inputs = [window.inputs for _, window in windows]
        outputs = _by_shape(inputs, part) if self.batched else [part(x) for x in inputs]
        results: list[list[Array]] = [[] for _ in queues]
        for (index, window), output in zip(windows, outputs, strict=True):
            results[index].append(output[..., window.first : window.last])
        return results


def _by_shape(inputs: Sequence[Array], part: Part) -> list[Array]:
    """The outputs of a part for each window, those of one shape computed as a batch."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, window in enumerate(inputs):
        groups.setdefault(tuple(window.shape), []).append(index)
    results: list[Array] = list(inputs)
    for indices in groups.values():
        outputs = part(join([inputs[index] for index in indices], 0))
        for row, index in enumerate(indices):
            results[index] = outputs[row : row + 1]
    return results


def chunks_a_window(config: ModelConfig) -> int:
    """The number of new chunks per window for a model: more than one where receptive fields are
    wide, because the frames of overlaps are computed twice."""
    return _WIDE if isinstance(config, LiteConfig) and config.attention_lookahead else 1


def chunks_by_stage(config: ModelConfig) -> dict[str, int]:
    """The same for each stage of its own, for engines that are faster with few frames at a time."""
    wide = chunks_a_window(config)
    return {"encoder_pre": 1, "encoder_post": wide, "decoder_pre": wide, "decoder_post": 1}
