"""Section 6: the tokens of a container, whole or in part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .adaptive import Codebook
from .container import Block, Container
from .cursor import Refused
from .header import ADAPTIVE, PRIOR, RAW, Header, bits_of
from .prior_file import Prior
from .prior_network import Network
from .range_decoder import RangeDecoder

Frame = tuple[int, ...]  # a token of each codebook
SHARED = {RAW: 1, ADAPTIVE: 75, PRIOR: 1}  # blocks that share a context


def all_tokens(container: Container, priors: Iterable[Prior] = ()) -> list[list[Frame]]:
    """The frames of each channel with tokens."""
    return part_tokens(container, 0, container.frames, priors)


def part_tokens(
    container: Container, start: int, stop: int, priors: Iterable[Prior] = ()
) -> list[list[Frame]]:
    """Frames `start` to `stop` - 1 of each channel with tokens (section 9)."""
    header = container.header
    prior = prior_of(header, priors) if header.coder == PRIOR and stop > start else None
    full, run = header.block_frames(), SHARED[header.coder]
    first = start // full // run * run
    blocks = container.blocks[first : -(-stop // full)] if stop > start else ()
    frames: list[list[Frame]] = [[] for _ in range(header.channels)]
    for block in decoded_blocks(header, blocks, prior):
        for channel, more in zip(frames, block, strict=True):
            channel += more
    return [channel[start - first * full : stop - first * full] for channel in frames]


def prior_of(header: Header, priors: Iterable[Prior]) -> Prior:
    """That which the header names."""
    named = [prior for prior in priors if prior.fingerprint[:4] == header.prior]
    if not named:
        raise Refused("no prior", f"{header.prior.hex() if header.prior else None} is not there")
    layout = (header.fingerprint, header.hop, header.sizes)
    for prior in named:
        if (prior.model, prior.hop, prior.sizes) == layout:
            return prior
    raise Refused("damaged", "the prior that it names is of another model, hop or geometry")


def decoded_blocks(
    header: Header, blocks: Iterable[Block], prior: Prior | None
) -> Iterator[list[list[Frame]]]:
    """The frames of each channel of these blocks, the first of which starts a run."""
    books: list[Codebook] = []
    for number, block in enumerate(blocks):
        if header.coder == ADAPTIVE and number % SHARED[ADAPTIVE] == 0:
            books = [Codebook(size) for size in header.sizes]
        if len(block.payload) == header.raw_bytes(block.frames):
            frames = raw_frames(header, block)
            learn_raw(books, frames)
        elif prior is not None:
            frames = prior_frames(header, block, prior)
        else:
            frames = adaptive_frames(header, block, books)
        yield frames


def raw_frames(header: Header, block: Block) -> list[list[Frame]]:
    """Section 6.1."""
    widths = [bits_of(size) for size in header.sizes]
    number = int.from_bytes(block.payload, "big")
    left = 8 * len(block.payload)
    tokens = []
    for width in widths * (header.channels * block.frames):
        left -= width
        tokens.append(number >> left & ((1 << width) - 1))
    if number & ((1 << left) - 1):
        raise Refused("damaged", "bits behind the last token")
    rows = list(zip(*[iter(tokens)] * len(widths), strict=True))
    if any(token >= size for row in rows for token, size in zip(row, header.sizes, strict=True)):
        raise Refused("damaged", "a token outside its codebook")
    return [rows[i : i + block.frames] for i in range(0, len(rows), block.frames)]


def learn_raw(books: list[Codebook], frames: list[list[Frame]]) -> None:
    """Counts the tokens of a raw block; there are no codebooks where the coder is not adaptive."""
    for channel, rows in enumerate(frames):
        for row in rows:
            for book, token in zip(books, row, strict=False):
                book.learn_raw(token, channel)


def adaptive_frames(header: Header, block: Block, books: list[Codebook]) -> list[list[Frame]]:
    """Section 6.4."""
    decoder = RangeDecoder(block.payload)
    return [
        [tuple(book.decode(decoder, channel) for book in books) for _ in range(block.frames)]
        for channel in range(header.channels)
    ]


def prior_frames(header: Header, block: Block, prior: Prior) -> list[list[Frame]]:
    """Section 6.5."""
    decoder = RangeDecoder(block.payload)
    frames = []
    for _ in range(header.channels):
        network = Network(prior)
        codebooks = range(len(header.sizes))
        frames.append(
            [tuple(network.decode(decoder, k) for k in codebooks) for _ in range(block.frames)]
        )
    return frames
