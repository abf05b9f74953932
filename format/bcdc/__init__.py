"""The .bcdc container for speech tokens. Specification: SPEC.md beside this package's source.

Needs numpy and the standard library only; knows nothing of the models that make the tokens.
"""

from bcdc.errors import (
    BcdcError,
    CorruptError,
    LimitError,
    NotBcdcError,
    TruncatedError,
    UnsupportedError,
)
from bcdc.header import HEADER_BYTES, MODEL_RATE, VERSION, Coder, Geometry, Header, check_start
from bcdc.reader import Block, Container, read
from bcdc.tokens import TokenCounts, Tokens
from bcdc.writer import Writer

__all__ = [
    "HEADER_BYTES",
    "MODEL_RATE",
    "VERSION",
    "BcdcError",
    "Block",
    "Coder",
    "Container",
    "CorruptError",
    "Geometry",
    "Header",
    "LimitError",
    "NotBcdcError",
    "TokenCounts",
    "Tokens",
    "TruncatedError",
    "UnsupportedError",
    "Writer",
    "check_start",
    "read",
]
