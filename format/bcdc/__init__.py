"""The .bcdc container for speech tokens. Specification: SPEC.md beside this package's source.

`read` opens a container in memory and `write` makes one; `Writer` takes tokens piece by piece.

Needs numpy, constriction, threadpoolctl and the standard library only; does not know the models
that make the tokens.
"""

from bcdc.block_coder import Coding, header_for, usable_coders
from bcdc.errors import (
    BcdcError,
    CorruptError,
    LimitError,
    MissingPriorError,
    NotBcdcError,
    PriorError,
    TruncatedError,
    UnsupportedError,
)
from bcdc.header import (
    F0_BINS,
    HEADER_BYTES,
    MODEL_RATE,
    VERSION,
    Coder,
    Geometry,
    Header,
    check_start,
)
from bcdc.prior_file import Prior, PriorShape, read_prior, write_prior
from bcdc.reader import Block, Container, decode_ahead, read
from bcdc.tokens import TokenCounts, Tokens
from bcdc.writer import Writer, code_ahead, write

__all__ = [
    "F0_BINS",
    "HEADER_BYTES",
    "MODEL_RATE",
    "VERSION",
    "BcdcError",
    "Block",
    "Coder",
    "Coding",
    "Container",
    "CorruptError",
    "Geometry",
    "Header",
    "LimitError",
    "MissingPriorError",
    "NotBcdcError",
    "Prior",
    "PriorError",
    "PriorShape",
    "TokenCounts",
    "Tokens",
    "TruncatedError",
    "UnsupportedError",
    "Writer",
    "check_start",
    "code_ahead",
    "decode_ahead",
    "header_for",
    "read",
    "read_prior",
    "usable_coders",
    "write",
    "write_prior",
]
