"""Running many streams at the same time; each source is read only as far as needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from bigcodec_models.arrays import Array
from bigcodec_models.inference.chunking import FrameRange, Pipeline, Stream


@dataclasses.dataclass(frozen=True)
class Advance:
    """The outputs of one source's stream in one round.

    `index` counts the sources from 0 in the order in which they were opened. `last` is true
    exactly once per source; `error` is then the exception that the source raised, if any.
    """

    index: int
    pieces: list[Array]
    last: bool
    error: Exception | None = None


class _OpenSource:
    """A source that is being read, and its stream."""

    def __init__(self, index: int, source: Iterable[Array], stream: Stream) -> None:
        self.index, self.stream = index, stream
        self.error: Exception | None = None
        self._source = iter(source)

    def feed(self) -> None:
        """Read inputs until the stream can be advanced."""
        while not self.stream.ready() and not self.stream.finished():
            try:
                frames = next(self._source)
            except StopIteration:
                self.stream.close()
            except Exception as error:
                self.error = error
                return
            else:
                self.stream.push(frames)

    def ended(self) -> bool:
        return self.error is not None or self.stream.finished()


def run_streams(
    pipeline: Pipeline,
    sources: Iterable[Iterable[Array]],
    batch_size: int = 1,
    output_range: FrameRange = (0, None),
) -> Iterator[Advance]:
    """Run sources of whole frames through a pipeline, up to `batch_size` of them at a time.

    Each source gives arrays (1, channels, n) on the pipeline's device. When one ends, the next one
    is opened. A source that raises an `Exception` ends without effect on the others. Pieces of one
    source come in order.
    With fewer sources than `batch_size`, a batched pipeline takes several windows of each at once.
    """
    waiting = enumerate(sources)
    active: list[_OpenSource] = []
    while True:
        while len(active) < batch_size and (source := next(waiting, None)) is not None:
            active.append(_OpenSource(*source, pipeline.stream(output_range)))
        if not active:
            return
        for opened in active:
            opened.feed()
        yield from _round(pipeline, active, batch_size if pipeline.batched else 1)
        active = [opened for opened in active if not opened.ended()]


def _round(pipeline: Pipeline, active: list[_OpenSource], batch_size: int) -> Iterator[Advance]:
    running = [opened for opened in active if opened.error is None]
    with pipeline.scope():
        at_once = max(1, batch_size // max(1, len(running)))
        outputs = pipeline.advance([opened.stream for opened in running], at_once)
    by_index = {opened.index: part for opened, part in zip(running, outputs, strict=True)}
    for opened in active:
        pieces = by_index.get(opened.index, [])
        if pieces or opened.ended():
            yield Advance(opened.index, pieces, opened.ended(), opened.error)
