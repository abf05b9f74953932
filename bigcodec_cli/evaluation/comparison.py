"""The metrics for two files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from bigcodec_cli.console.messages import CliError
from bigcodec_cli.evaluation.metrics.alignment import align
from bigcodec_cli.evaluation.metrics.compute import QualityMetrics
from bigcodec_cli.evaluation.metrics.waveform import LoadedWave, fit, load_wave
from bigcodec_cli.evaluation.packages import Missing
from bigcodec_models.config import SAMPLE_RATE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Values by key; reasons for metrics that failed or are not installed.

    `delay_ms` is the delay that was removed, `seconds` the length of the original,
    `surplus_seconds` how much longer the restored file was. `faults` name a file that is not
    whole, and why.
    """

    values: Mapping[str, float]
    failed: Mapping[str, str]
    missing: Mapping[str, Missing]
    seconds: float
    surplus_seconds: float
    delay_ms: float
    faults: Sequence[str] = ()


def compare(
    original: Path,
    restored: Path,
    aligned: bool,
    keys: Sequence[str],
    recognizer: Path | None = None,
) -> Comparison:
    """The metrics `keys` of two files at 16 kHz, without the delay of the second if `aligned`.
    `recognizer` is as of `QualityMetrics`.

    Raises:
        CliError: one of them cannot be read or holds no samples.
    """
    loaded = {path: _load(path) for path in (original, restored)}
    first, second = loaded[original].wave, loaded[restored].wave
    moved, delay = align(first, second) if aligned else (fit(second, len(first)), 0)
    metrics = QualityMetrics(keys, recognizer)
    values, failed = metrics.compute(first, moved)
    return Comparison(
        values=values,
        failed=failed,
        missing=metrics.missing,
        seconds=len(first) / SAMPLE_RATE,
        surplus_seconds=(len(second) - len(first)) / SAMPLE_RATE,
        delay_ms=delay * 1000 / SAMPLE_RATE,
        faults=[f"{path}: {each.fault}" for path, each in loaded.items() if each.fault],
    )


def _load(path: Path) -> LoadedWave:
    loaded = load_wave(path)
    if not len(loaded.wave):
        raise CliError(f"{path}: {loaded.fault or 'holds no samples'}")
    return loaded
