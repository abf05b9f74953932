"""Codecs under test: from a wave to bytes on disk and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol

from bigcodec_models.arrays import AnyTokens, Wave


class CodingError(Exception):
    """A codec failed on a recording; the message says how."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodecInfo:
    """The name of a codec, and a description of how it is run.

    `token_rate` is in tokens per second, all codebooks together; 0 if there are no tokens.
    """

    name: str
    is_bigcodec: bool
    description: str
    fingerprint: str = ""
    token_rate: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coded:
    """A coded wave: `restored` is as long as the original, `size` in bytes, times in seconds.

    `tokens` is (T, K), or None for a codec without tokens; `delay` was removed, in samples.
    """

    restored: Wave
    size: int
    encode_seconds: float
    decode_seconds: float
    tokens: AnyTokens | None = None
    delay: int = 0


class CodecUnderTest(Protocol):
    """A codec ready to run."""

    @property
    def info(self) -> CodecInfo:
        """Its description."""

    def code(self, wave: Wave, folder: Path) -> Coded:
        """Code a wave (n,) at 16 kHz, n above 0, and restore it, with files in `folder`.

        Raises:
            CodingError: it failed.
        """
