"""Many streams side by side: each source is pulled from as it is needed, in bounded memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from bigcodec_models.inference.chunking import FrameRange, Pipeline, Stream


@dataclasses.dataclass(frozen=True)
class Advance:
    """The outputs of one source's stream in one round.

    `index` counts the sources from 0 in the order in which they were taken. `last` is true
    exactly once per source; `error` is then the exception that the source raised, if any.
    """

    index: int
    pieces: list[Tensor]
    last: bool
    error: Exception | None = None


class _Active:
    """A source that is open, and its stream."""

    def __init__(self, index: int, source: Iterable[Tensor], stream: Stream) -> None:
        self.index, self.stream = index, stream
        self.error: Exception | None = None
        self._source = iter(source)

    def feed(self, device: torch.device) -> None:
        """Pull inputs until the stream can be advanced."""
        while not self.stream.ready() and not self.stream.finished():
            try:
                frames = next(self._source)
            except StopIteration:
                self.stream.close()
            except Exception as error:
                self.error = error
                return
            else:
                self.stream.push(frames.to(device))

    def over(self) -> bool:
        return self.error is not None or self.stream.finished()


def run_streams(
    pipeline: Pipeline,
    sources: Iterable[Iterable[Tensor]],
    device: torch.device,
    batch_size: int = 1,
    output_range: FrameRange = (0, None),
) -> Iterator[Advance]:
    """Run sources of whole frames through a pipeline, up to `batch_size` of them side by side.

    When one ends, the next is taken from `sources`. A source that raises an `Exception` ends
    alone. Pieces of one source come in order. With fewer sources than `batch_size`, a batched
    pipeline takes several windows of each at once.
    """
    waiting = enumerate(sources)
    active: list[_Active] = []
    while True:
        while len(active) < batch_size and (source := next(waiting, None)) is not None:
            active.append(_Active(*source, pipeline.stream(output_range)))
        if not active:
            return
        for one in active:
            one.feed(device)
        yield from _round(pipeline, active, batch_size if pipeline.batched else 1)
        active = [one for one in active if not one.over()]


def _round(pipeline: Pipeline, active: list[_Active], batch_size: int) -> Iterator[Advance]:
    going = [one for one in active if one.error is None]
    with torch.inference_mode():
        at_once = max(1, batch_size // max(1, len(going)))
        outputs = pipeline.advance([one.stream for one in going], at_once)
    by_index = {one.index: pieces for one, pieces in zip(going, outputs, strict=True)}
    for one in active:
        pieces = by_index.get(one.index, [])
        if pieces or one.over():
            yield Advance(one.index, pieces, one.over(), one.error)
