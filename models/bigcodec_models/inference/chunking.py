"""Coding in chunks on one canonical grid, with the tokens of a single pass, in bounded memory.

The convolutional parts have a finite context and go over overlapping windows of one fixed shape,
of which only the middle is kept; the LSTMs, or attention in their place, carry their state. The
grid depends on nothing but positions in the file, so every way of coding a file goes through the
very same shapes, and many files can be advanced side by side.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bigcodec_models.architectures.lite import LiteDecoder
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.config import LiteConfig, ModelConfig
from bigcodec_models.inference.receptive_field import Context, contexts_of
from bigcodec_models.layers.attention import WindowedAttention
from bigcodec_models.layers.lstm import Recurrence, find_recurrence
from bigcodec_models.layers.state_reset import Carried, run, starts_before, tone_phases

CHUNK_FRAMES = 640
"""Frames that a window adds to what is known: 8 s at 80 frames a second."""
_WIDE = 3
"""Times that, with attention that sees frames on both sides: its context is 0.4 of a chunk."""

Wanted = tuple[int, int | None]
"""First frame that is asked for, and the one after the last."""
Part = Callable[[Tensor], Tensor]
Beside = Callable[[Carried, Tensor], Tensor]
"""What becomes of channels of pitch (1, 1, n) of a stream."""


@dataclasses.dataclass(frozen=True)
class Window:
    """Inputs (1, channels, n) of a finite-context part, and which of its outputs to keep."""

    inputs: Tensor
    first: int
    last: int


class Windows:
    """The windows of a finite-context part over a stream of frames.

    Inputs are (1, channels, n * unit_in) with whole frames; outputs have `unit_out` values a
    frame. A window is `left + chunk + right` frames; at the start of the stream it begins
    where the stream does, so that no padding stands where the stream has data. The last window
    has what remains, or with `reach_back` begins early enough to be as long as the others, for
    devices that like one shape. A stream shorter than a window is done in one piece. Chunks that
    lie outside the wanted frames are passed over. Those before frame `begin` are not even pushed:
    inputs then start at frame `start`.
    """

    def __init__(
        self,
        context: Context,
        unit_in: int,
        unit_out: int,
        wanted: Wanted = (0, None),
        reach_back: bool = False,
        begin: int = 0,
        start: int = 0,
        chunk: int | None = None,
    ) -> None:
        self._chunk = chunk or CHUNK_FRAMES
        self._context, self._unit_in, self._unit_out = context, unit_in, unit_out
        self._first, self._last = wanted
        self._reach_back = reach_back
        self._window = context.left + self._chunk + context.right
        self._buffer: Tensor | None = None
        self._start = start  # frame at which the buffer starts
        self._done = begin  # frames already given out or passed over
        self._closed = False

    def push(self, frames: Tensor) -> None:
        """Take inputs."""
        self._buffer = frames if self._buffer is None else torch.cat([self._buffer, frames], -1)

    def close(self) -> None:
        """No more inputs will come."""
        self._closed = True

    def take(self) -> Window | None:
        """The next window that is complete and wanted, or None."""
        while (plan := self._plan()) is not None:
            start, end = plan
            window = self._cut(start, end)
            self._done = end
            self._forget()
            if window is not None:
                return window
        return None

    def ready(self) -> bool:
        """Whether `take` can get on; at the end it may still find nothing that is wanted."""
        return self._plan() is not None

    def finished(self) -> bool:
        """Whether nothing more will come."""
        if self._last is not None and self._done >= self._last:
            return True
        return self._closed and self._done >= self._available()

    def buffered(self) -> int:
        """Inputs held at present."""
        return 0 if self._buffer is None else self._buffer.shape[-1]

    def _available(self) -> int:
        return self._start + self.buffered() // self._unit_in

    def _plan(self) -> tuple[int, int] | None:
        """Where the next window starts, and the frame after the last that it adds."""
        if self.finished():
            return None
        available = self._available()
        start = max(0, self._done - self._context.left)
        if available >= start + self._window:
            return start, self._done + self._chunk
        if not self._closed:
            return None
        return max(0, min(start, self._earliest())), available

    def _earliest(self) -> int:
        """Where a window that ends with what there is begins, if it has to be as long as all."""
        return self._available() - self._window if self._reach_back else self._available()

    def _cut(self, start: int, end: int) -> Window | None:
        low = max(self._done, self._first)
        high = end if self._last is None else min(end, self._last)
        if low >= high:
            return None
        assert self._buffer is not None
        offset = (start - self._start) * self._unit_in
        inputs = self._buffer[..., offset : offset + self._window * self._unit_in]
        return Window(inputs, (low - start) * self._unit_out, (high - start) * self._unit_out)

    def _forget(self) -> None:
        """Drop inputs that no later window needs."""
        assert self._buffer is not None
        needed = min(self._done - self._context.left, self._earliest())
        start = max(self._start, needed)
        self._buffer = self._buffer[..., (start - self._start) * self._unit_in :]
        self._start = start


class Stream:
    """One file's way through a `Pipeline`: its windows before and after the LSTM, its state."""

    def __init__(self, front: Windows, back: Windows, position: int = 0) -> None:
        self.front, self.back = front, back
        self.carried = Carried(position=position)

    def push(self, frames: Tensor) -> None:
        """Take inputs, whole frames."""
        self.front.push(frames)

    def close(self) -> None:
        """No more inputs will come."""
        self.front.close()

    def ready(self) -> bool:
        """Whether the pipeline can advance it without more inputs."""
        if self.front.finished():
            return not self.back.finished()
        return self.front.ready() or self.back.ready()

    def finished(self) -> bool:
        """Whether nothing more will come out."""
        return self.back.finished()

    def buffered(self) -> int:
        """Inputs held at present."""
        return self.front.buffered()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Half of a codec: convolutions, LSTM, convolutions, and the shapes between them.

    `batched` is for accelerators: windows have one shape, and those of one shape go together.
    On a CPU every window is computed by itself: a batch gains nothing there, and the rounding
    of matrix products depends on their shape. `short_lstm`, if there is one, does streams that
    are shorter than a window, whatever stands beside them. The LSTM starts anew every `restart`
    frames, if that is not 0 (see `state_reset`). With `pitched` the last channel that
    comes out of the front is one of pitch, which `beside` takes past the LSTM. A window adds
    `chunks_a_window` times `CHUNK_FRAMES`: more where the context is wide, as much of a window is
    then computed twice.
    """

    front: Part
    lstm: Recurrence | None
    back: Part
    contexts: tuple[Context, Context]
    unit_in: int
    unit_out: int
    batched: bool = False
    short_lstm: Recurrence | None = None
    restart: int = 0
    pitched: bool = False
    chunks_a_window: int = 1
    beside: Beside = lambda _, pitch: pitch

    def stream(self, wanted: Wanted = (0, None)) -> Stream:
        """A new stream, for inputs from frame `needed(wanted)[0]` on; with `wanted` frames, the
        part after the LSTM runs for those only."""
        whole, begin, start = (0, None), self._begin(wanted), self.needed(wanted)[0]
        before, after = self.contexts
        batched, chunk = self.batched, self.chunk
        front = Windows(before, self.unit_in, 1, whole, batched, begin, start, chunk)
        back = Windows(after, 1, self.unit_out, wanted, batched, begin, begin, chunk)
        return Stream(front, back, begin)

    @property
    def chunk(self) -> int:
        """Frames that a window adds to what is known."""
        return self.chunks_a_window * CHUNK_FRAMES

    def needed(self, wanted: Wanted) -> Wanted:
        """The range of frames whose inputs a stream takes, to give the wanted ones."""
        first, last = max(0, self._begin(wanted) - self.contexts[0].left), wanted[1]
        if last is not None:
            for context in reversed(self.contexts):
                chunks = -(-last // self.chunk) * self.chunk
                last = max(chunks, context.left + self.chunk) + context.right
        return first, last

    def _begin(self, wanted: Wanted) -> int:
        """The frame, at the start of a chunk, from which a stream must run.

        An LSTM forgets nothing to the last bit and must see everything, unless it starts anew now
        and then; and so must the sum that a tone's phase is. Attention sees a bounded stretch, and
        once that is full, every product has the shape and the values it has in a stream from the
        start. Where windows reach back, their shapes depend on all there is.
        """
        if self.batched:
            return 0
        if self.restart:
            first = max(0, wanted[0] // self.chunk * self.chunk - self.contexts[1].left)
            stateless = self.lstm is None
            begin = first // self.restart * self.restart
            begin = begin if stateless else starts_before(first, self.restart)
            return begin // self.chunk * self.chunk
        if self.pitched or not (self.lstm is None or isinstance(self.lstm, WindowedAttention)):
            return 0
        before = 0 if self.lstm is None else self.lstm.chunks_before(self.chunk)
        chunk = wanted[0] // self.chunk * self.chunk
        first = max(0, chunk - self.contexts[1].left) // self.chunk
        return max(0, first - before) * self.chunk

    def advance(self, streams: Sequence[Stream], at_once: int = 1) -> list[list[Tensor]]:
        """One round: what each stream puts out, given at most `at_once` windows of each."""
        pieces = self._through([stream.front for stream in streams], self.front, at_once)
        self._recur(streams, pieces)
        for stream in streams:
            if stream.front.finished():
                stream.back.close()
        return self._through([stream.back for stream in streams], self.back, at_once)

    def _recur(self, streams: Sequence[Stream], pieces: Sequence[Sequence[Tensor]]) -> None:
        groups: dict[bool, list[int]] = {True: [], False: []}
        for index, found in enumerate(pieces):
            if found:
                stream = streams[index]
                groups[stream.carried.state is None and stream.front.finished()].append(index)
        for whole, indices in groups.items():
            joined = [torch.cat(list(pieces[index]), dim=-1) for index in indices]
            carried = [streams[index].carried for index in indices]
            pitches = [self._pitch(one, x) for one, x in zip(carried, joined, strict=True)]
            joined = [x[:, : x.shape[1] - self.pitched] for x in joined]
            lstm = self.short_lstm if whole and self.short_lstm is not None else self.lstm
            joined = run(lstm, carried, joined, self.restart)
            for index, piece, pitch in zip(indices, joined, pitches, strict=True):
                streams[index].back.push(torch.cat([piece, *pitch], dim=1))

    def _pitch(self, carried: Carried, frames: Tensor) -> list[Tensor]:
        return [self.beside(carried, frames[:, -1:])] if self.pitched else []

    def _through(self, queues: Sequence[Windows], part: Part, at_once: int) -> list[list[Tensor]]:
        taken = [
            (index, window)
            for index, queue in enumerate(queues)
            for window in itertools.islice(iter(queue.take, None), at_once)
        ]
        inputs = [window.inputs for _, window in taken]
        outputs = _by_shape(inputs, part) if self.batched else [part(one) for one in inputs]
        results: list[list[Tensor]] = [[] for _ in queues]
        for (index, window), output in zip(taken, outputs, strict=True):
            results[index].append(output[..., window.first : window.last])
        return results


def _by_shape(inputs: Sequence[Tensor], part: Part) -> list[Tensor]:
    """A part over windows, those of one shape together."""
    groups: dict[torch.Size, list[int]] = {}
    for index, window in enumerate(inputs):
        groups.setdefault(window.shape, []).append(index)
    results: list[Tensor] = list(inputs)
    for indices in groups.values():
        outputs = part(torch.cat([inputs[index] for index in indices]))
        for row, index in enumerate(indices):
            results[index] = outputs[row : row + 1]
    return results


def encoder_pipeline(
    network: CodecNetwork, batched: bool = False, f0: str | None = None
) -> Pipeline:
    """Samples (1, 1, n * hop) to latents (1, dim, n), with F0 tokens below where the F0 mode, by
    default the model's first, is "coded"."""
    config: ModelConfig = network.config
    f0_coded = (f0 or config.default_f0) == "coded"
    contexts, encoder = contexts_of(config), network.encoder

    def front(wave: Tensor) -> Tensor:
        x, pitch = encoder.front(wave), network.pitch(wave) if f0_coded else None
        return x if pitch is None else torch.cat([x, pitch.unsqueeze(1).to(x.dtype)], dim=1)

    def back(x: Tensor) -> Tensor:
        if not f0_coded:
            return encoder.back(x)
        return torch.cat([encoder.back(x[:, :-1]), x[:, -1:]], dim=1)

    return Pipeline(
        front=front,
        lstm=find_recurrence(encoder.lstm),
        back=back,
        contexts=(contexts.encoder_front, contexts.encoder_back),
        unit_in=config.hop,
        unit_out=1,
        batched=batched,
        pitched=f0_coded,
        chunks_a_window=_chunks_a_window(config),
    )


def decoder_pipeline(network: CodecNetwork, batched: bool = False) -> Pipeline:
    """Tokens (1, K, n) to samples (1, 1, n * hop)."""
    config: ModelConfig = network.config
    contexts, decoder = contexts_of(config), network.decoder
    restart = config.restart if isinstance(config, LiteConfig) else 0

    def front(tokens: Tensor) -> Tensor:
        codes, pitch = network.split(tokens.transpose(1, 2))
        latent = network.quantizer.decode(codes)
        if isinstance(decoder, LiteDecoder):
            return decoder.front(latent, pitch)
        return decoder.front(latent)

    return Pipeline(
        front=front,
        lstm=find_recurrence(decoder.lstm),
        back=decoder.back,
        contexts=(contexts.decoder_front, contexts.decoder_back),
        unit_in=1,
        unit_out=config.hop,
        batched=batched,
        restart=restart,
        chunks_a_window=_chunks_a_window(config),
        pitched=network.tracker is not None,
        beside=lambda carried, steps: tone_phases(carried, steps[:, 0].long(), restart),
    )


def _chunks_a_window(config: ModelConfig) -> int:
    return _WIDE if isinstance(config, LiteConfig) and config.attention_lookahead else 1
