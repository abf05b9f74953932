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
from bcdc.header import MODEL_RATE, VERSION, Coder, Geometry, Header
from bcdc.reader import Block, Container, read
from bcdc.tokens import TokenCounts, Tokens
from bcdc.writer import Writer

__all__ = [
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
    "read",
]
