"""The codecs and metrics of an evaluation, as named on the command line. Loads no torch."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from bigcodec_cli.evaluation.metrics.definitions import QUALITY, WITH_RECOGNIZER
from bigcodec_cli.model_store.store import find_model

PAGES = ("full", "clips")
"""What the page of an evaluation may have: all, or the clips first and then the means."""
_CODEC2_MODES = ("3200", "2400", "1600", "1400", "1300", "1200", "700C", "450")


class BaselineError(ValueError):
    """An unknown baseline; the message lists the known ones."""


@dataclasses.dataclass(frozen=True)
class BaselineName:
    """A codec and its rate, written `opus:6`."""

    codec: str
    rate: str

    def __str__(self) -> str:
        return f"{self.codec}:{self.rate}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Codecs, quality metrics, device and number of processes. `f0` has the F0 modes of the
    models, by default the first of each; `recognizer` the folder of a speech recognizer."""

    models: tuple[str, ...]
    baselines: tuple[BaselineName, ...]
    metrics: tuple[str, ...]
    device: str
    engine: str = "auto"
    jobs: int
    f0: tuple[str, ...] = ()
    recognizer: Path | None = None


def parse_baselines(text: str) -> list[BaselineName]:
    """The baselines of a list such as `opus:6,codec2:1200`, each once.

    Raises:
        BaselineError: one is unknown; the message lists the known ones.
    """
    names = dict.fromkeys(_parse(part.strip()) for part in text.split(",") if part.strip())
    return list(names)


def _parse(text: str) -> BaselineName:
    codec, _, rate = text.partition(":")
    if codec == "codec2" and rate in _CODEC2_MODES:
        return BaselineName(codec, rate)
    if codec in ("opus", "encodec", "dac") and re.fullmatch(r"\d{1,3}(\.\d{1,3})?", rate):
        kbps = float(rate)
        if codec == "opus" and not 6 <= kbps <= 256:
            raise BaselineError(f"{text}: opusenc takes 6 to 256 kbit/s")
        if kbps > 0:
            return BaselineName(codec, f"{kbps:g}")
    raise BaselineError(
        f"{text}: no such baseline; there are opus:KBPS, codec2:MODE (one of "
        f"{', '.join(_CODEC2_MODES)}), encodec:KBPS and dac:KBPS"
    )


def parse_metrics(text: str) -> tuple[str, ...]:
    """The quality metrics of a list such as `pesq_wb,stoi`, each once; for an empty list all but
    the one that needs a speech recognizer.

    Raises:
        ValueError: one is unknown; the message lists the known ones.
    """
    known = [metric.key for metric in QUALITY]
    chosen = [part.strip() for part in text.split(",") if part.strip()]
    for key in chosen:
        if key not in known:
            raise ValueError(f"{key}: no such metric; there are {', '.join(known)}")
    usual = [key for key in known if key != WITH_RECOGNIZER]
    return tuple(key for key in known if key in (chosen or usual))


def with_recognizer(metrics: tuple[str, ...], recognizer: Path | None) -> tuple[str, ...]:
    """Metrics, and the one that needs a speech recognizer if there is one."""
    added = () if recognizer is None or WITH_RECOGNIZER in metrics else (WITH_RECOGNIZER,)
    return metrics + added


def model_name(name_or_path: str) -> str:
    """The name of a model in tables: that of the store, or that of the file without its suffix."""
    entry = find_model(name_or_path)
    return entry.name if entry is not None else Path(name_or_path).stem
