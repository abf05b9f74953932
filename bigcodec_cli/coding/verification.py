"""Whether what was written reads back as what was coded."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

import bcdc
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.containers import token_stretches


class VerifyError(CliError):
    """What was written does not read back as what was coded."""


class TokenDigest:
    """A digest of tokens (channels, n, codebooks) that does not depend on how they were cut."""

    def __init__(self, channels: int) -> None:
        self._hashes = [hashlib.blake2b() for _ in range(channels)]

    def update(self, tokens: bcdc.Tokens) -> None:
        """Take the next tokens."""
        for state, channel in zip(self._hashes, tokens, strict=True):
            state.update(np.ascontiguousarray(channel, "<i4").tobytes())

    def values(self) -> list[bytes]:
        """The digest of each channel."""
        return [state.digest() for state in self._hashes]


def read_back(path: Path) -> bcdc.Container:
    """Read a container that was just written.

    Raises:
        VerifyError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        return bcdc.read(path.read_bytes())
    except bcdc.BcdcError as error:
        raise VerifyError(f"what was written does not read back: {error}") from error


def verify_container(
    container: bcdc.Container,
    digest: TokenDigest,
    samples: int,
    prior: bcdc.Prior | None = None,
) -> None:
    """Compare a container with what was coded. `prior` may be one too many.

    Raises:
        VerifyError: it differs.
    """
    written = TokenDigest(len(digest.values()))
    try:
        needed = prior if container.header.coder.needs_prior else None
        for tokens in token_stretches(container, needed):
            written.update(tokens)
    except bcdc.BcdcError as error:
        raise VerifyError(f"what was written does not read back: {error}") from error
    if written.values() != digest.values() or container.num_samples != samples:
        raise VerifyError("what was written does not read back as what was coded")
