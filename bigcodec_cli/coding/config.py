"""What `compress` and `decompress` are asked to do. Loads no torch."""

from __future__ import annotations

import dataclasses

from bigcodec_cli.audio.pcm import Encoding, RawFormat

SHORT_AT_ONCE = 16
"""Short files that a CPU codes side by side: it then reads the model's weights once for all, and is
faster by a sixth. Not on other devices, where the results would depend on it in near-ties."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompressConfig:
    """How audio becomes containers: everything on which their bytes depend, and how to work.

    `coder` is the name of one, or auto; `f0` an F0 mode, by default the model's first. Without a
    `batch_size` it is 1, but more for short files on a CPU. `engine` is auto, onnx or
    torch. `raw` describes inputs without header. `latency` is how many seconds after its first
    sample a block may be written, None for no limit.
    """

    model: str
    coder: str = "auto"
    f0: str | None = None
    device: str = "auto"
    batch_size: int | None = None
    downmix: bool = False
    raw: RawFormat | None = None
    verify: bool = True
    engine: str = "auto"
    latency: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecompressConfig:
    """How containers become audio files.

    `kind` is one of `writer.KINDS`. `start` and `duration` are in seconds. `model` is one to use
    where a container's own is not in the store, `engine` auto, onnx or torch. `allow_long` lets
    few bytes become hours of audio unasked.
    """

    model: str | None = None
    device: str = "auto"
    batch_size: int = 1
    precision: str = "float32"
    kind: str = "wav"
    encoding: Encoding = Encoding.S16
    start: float = 0.0
    duration: float | None = None
    recover: bool = False
    allow_long: bool = False
    engine: str = "auto"

    @property
    def whole(self) -> bool:
        """Whether all of every file is asked for."""
        return self.start == 0 and self.duration is None
