"""What is compared: codecs that turn a wave into bytes on disk and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol

from bigcodec_models.arrays import Tokens, Wave


class CodingError(Exception):
    """A codec failed on a recording; the message says how."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodecInfo:
    """What a codec is called, and what a reader must know of how it was run.

    `token_rate` is in tokens a second, all codebooks together; 0 where there are no tokens.
    """

    name: str
    is_bigcodec: bool
    description: str
    fingerprint: str = ""
    token_rate: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coded:
    """One wave coded: `restored` is as long as the original, `size` in bytes, times in seconds.

    `tokens` is (T, K), or None for codecs without; `delay` what was taken away, in samples.
    """

    restored: Wave
    size: int
    encode_seconds: float
    decode_seconds: float
    tokens: Tokens | None = None
    delay: int = 0


class CodecUnderTest(Protocol):
    """A codec ready to run."""

    @property
    def info(self) -> CodecInfo:
        """What it is."""

    def code(self, wave: Wave, folder: Path) -> Coded:
        """Code a wave (n,) at 16 kHz, n above 0, and restore it, with files in `folder`.

        Raises:
            CodingError: it failed.
        """
