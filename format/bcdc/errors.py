"""What can be wrong with a container.

    BcdcError
    +-- NotBcdcError       the magic is not there: some other kind of file
    +-- UnsupportedError   undamaged, but of a newer version, flag or coder
    +-- CorruptError       a checksum or the structure is wrong
    +-- TruncatedError     the data end before the container does
    +-- LimitError         a declared size is above what a reader accepts
    +-- MissingPriorError  undamaged, but its tokens need a prior that is not at hand
    +-- PriorError         a prior file is damaged, too new, or something else

Misuse by the caller is `ValueError` or `TypeError`. Any other exception raised while reading
bytes is a bug in this package.
"""

from __future__ import annotations


class BcdcError(Exception):
    """Base of every error that the bytes of a container or of a prior can cause."""


class NotBcdcError(BcdcError):
    """The data do not start with the magic bytes."""


class UnsupportedError(BcdcError):
    """The container is intact but needs a newer reader."""


class CorruptError(BcdcError):
    """A checksum does not match, or the structure contradicts itself.

    `block` is the index of the damaged block, or None when the damage is elsewhere.
    """

    def __init__(self, message: str, block: int | None = None) -> None:
        super().__init__(message)
        self.block = block


class TruncatedError(BcdcError):
    """The data end too early."""


class LimitError(BcdcError):
    """A declared size is above the reader's cap (SPEC section 10)."""


class MissingPriorError(BcdcError):
    """The tokens need a prior, and none or another one was given.

    `fingerprint` is what the container names it by, the first four bytes of its SHA-256.
    """

    def __init__(self, fingerprint: bytes) -> None:
        super().__init__(f"its tokens are coded with the prior {fingerprint.hex()}")
        self.fingerprint = fingerprint


class PriorError(BcdcError):
    """The bytes are not those of a prior that this reader can use."""
