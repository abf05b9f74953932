"""Coding in chunks on one canonical grid, with the tokens of a single pass, in bounded memory.

The convolutional parts have a finite context and go over overlapping windows of one fixed shape,
of which only the middle is kept; the LSTMs carry their state. The grid depends on nothing but
positions in the file, so every way of coding a file goes through the very same shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bigcodec_models.config import ModelConfig
from bigcodec_models.context import Context, contexts_of
from bigcodec_models.network import CodecNetwork
from bigcodec_models.recurrent import LSTMState, ResidualLSTM

CHUNK_FRAMES = 320
"""Frames that a window adds to what is known: 4 s at 80 frames a second."""


class OverlapDiscard:
    """A finite-context part over a stream of frames, chunk by chunk.

    Inputs are (1, channels, n * unit_in) with whole frames; outputs have `unit_out` values a
    frame. A window is `left + CHUNK_FRAMES + right` frames, shifted inwards at both ends of the
    stream so that no padding stands where the stream has data. A stream shorter than a window
    is done in one piece. Chunks that lie outside [first, last) frames are not computed.
    """

    def __init__(
        self,
        part: Callable[[Tensor], Tensor],
        context: Context,
        unit_in: int,
        unit_out: int,
        wanted: tuple[int, int | None] = (0, None),
    ) -> None:
        self._part, self._context = part, context
        self._unit_in, self._unit_out = unit_in, unit_out
        self._first, self._last = wanted
        self._window = context.left + CHUNK_FRAMES + context.right
        self._buffer: Tensor | None = None
        self._start = 0  # frame at which the buffer starts
        self._done = 0  # frames already put out or passed over

    def push(self, frames: Tensor) -> Iterator[Tensor]:
        """Take inputs; gives the outputs that they complete."""
        joined = frames if self._buffer is None else torch.cat([self._buffer, frames], dim=-1)
        self._buffer = joined
        while self._available() >= self._next_start() + self._window:
            start = self._next_start()
            yield from self._emit(start, self._done + CHUNK_FRAMES)
            self._forget(self._next_start())

    def finish(self) -> Iterator[Tensor]:
        """The outputs of everything that is left."""
        end = self._available()
        if end > self._done:
            yield from self._emit(max(0, end - self._window), end)

    def buffered(self) -> int:
        """Inputs held at present."""
        return 0 if self._buffer is None else self._buffer.shape[-1]

    def _available(self) -> int:
        return self._start + self.buffered() // self._unit_in

    def _next_start(self) -> int:
        return max(0, self._done - self._context.left)

    def _emit(self, start: int, end: int) -> Iterator[Tensor]:
        begin, self._done = self._done, end
        low, high = max(begin, self._first), end if self._last is None else min(end, self._last)
        if low >= high:
            return
        assert self._buffer is not None
        offset = (start - self._start) * self._unit_in
        window = self._buffer[..., offset : offset + self._window * self._unit_in]
        output = self._part(window)
        yield output[..., (low - start) * self._unit_out : (high - start) * self._unit_out]

    def _forget(self, before: int) -> None:
        """Drop inputs that no later window needs: the last one of all may reach back a window."""
        assert self._buffer is not None
        keep_from = max(self._start, min(before, self._available() - self._window))
        self._buffer = self._buffer[..., (keep_from - self._start) * self._unit_in :]
        self._start = keep_from


class _Recurrent:
    """The residual LSTM, its state carried from piece to piece; or nothing, if there is none."""

    def __init__(self, module: torch.nn.Module) -> None:
        found = [part for part in module.modules() if isinstance(part, ResidualLSTM)]
        self._lstm = found[0] if found else None
        self._state: LSTMState | None = None

    def step(self, frames: Tensor) -> Tensor:
        if self._lstm is None:
            return frames
        output, self._state = self._lstm.step(frames, self._state)
        return output


class StreamEncoder:
    """Samples in, latents out: float32 (1, 1, n) pieces to (1, dim, T) pieces."""

    def __init__(self, network: CodecNetwork) -> None:
        config: ModelConfig = network.config
        contexts = contexts_of(config)
        self._network, self._hop = network, config.hop
        encoder = network.encoder
        self._front = OverlapDiscard(encoder.front, contexts.encoder_front, config.hop, 1)
        self._lstm = _Recurrent(encoder.lstm)
        self._back = OverlapDiscard(encoder.back, contexts.encoder_back, 1, 1)
        self._rest: Tensor | None = None

    def push(self, samples: Tensor) -> Iterator[Tensor]:
        """Take samples; gives the latents (1, dim, T) that they complete."""
        joined = samples if self._rest is None else torch.cat([self._rest, samples], dim=-1)
        whole = joined.shape[-1] // self._hop * self._hop
        self._rest = joined[..., whole:]
        if whole:
            yield from self._onwards(self._front.push(joined[..., :whole]))

    def finish(self) -> Iterator[Tensor]:
        """Latents of what is left, the last frame filled up with zeros."""
        if self._rest is not None and self._rest.shape[-1]:
            missing = self._hop - self._rest.shape[-1]
            last = torch.nn.functional.pad(self._rest, (0, missing))
            yield from self._onwards(self._front.push(last))
        yield from self._onwards(self._front.finish())
        yield from self._back.finish()

    def buffered(self) -> int:
        """Samples held at present."""
        return self._front.buffered()

    def _onwards(self, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
        for piece in pieces:
            yield from self._back.push(self._lstm.step(piece))


class StreamDecoder:
    """Tokens in, samples out: int64 (1, K, T) pieces to float32 (1, 1, n) pieces.

    With `wanted`, only samples of those frames are made: the LSTM runs over all earlier frames,
    the expensive part does not.
    """

    def __init__(self, network: CodecNetwork, wanted: tuple[int, int | None] = (0, None)) -> None:
        config: ModelConfig = network.config
        contexts = contexts_of(config)
        decoder = network.decoder

        def front(tokens: Tensor) -> Tensor:
            return decoder.front(network.quantizer.decode(tokens.transpose(1, 2)))

        self._front = OverlapDiscard(front, contexts.decoder_front, 1, 1)
        self._lstm = _Recurrent(decoder.lstm)
        self._back = OverlapDiscard(decoder.back, contexts.decoder_back, 1, config.hop, wanted)

    def push(self, tokens: Tensor) -> Iterator[Tensor]:
        """Take tokens; gives the samples that they complete."""
        yield from self._onwards(self._front.push(tokens))

    def finish(self) -> Iterator[Tensor]:
        """Samples of what is left."""
        yield from self._onwards(self._front.finish())
        yield from self._back.finish()

    def _onwards(self, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
        for piece in pieces:
            yield from self._back.push(self._lstm.step(piece))
