"""Computing the quality metrics."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from bigcodec_cli.evaluation.metrics.definitions import WITH_RECOGNIZER, WITHOUT_ORIGINAL
from bigcodec_cli.evaluation.metrics.mcd import CepstralDistortion
from bigcodec_cli.evaluation.metrics.word_errors import WordErrors
from bigcodec_cli.evaluation.packages import (
    Missing,
    MissingError,
    load_package,
    using_torch,
)
from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.training.speech_metrics import pesq, stoi

MetricFunction = Callable[[Wave, Wave], float]


class QualityMetrics:
    """The quality metrics `keys`, as far as they are installed; `missing` has a reason for each of
    the others. `recognizer` is the folder of a speech recognizer, for the word error rate."""

    def __init__(self, keys: Sequence[str], recognizer: Path | None = None) -> None:
        self.missing: dict[str, Missing] = {}
        self._metrics: dict[str, MetricFunction] = {}
        for key in keys:
            try:
                self._metrics[key] = _load(key, recognizer)
            except MissingError as error:
                self.missing[key] = Missing.of(error)

    def compute(self, original: Wave, restored: Wave) -> tuple[dict[str, float], dict[str, str]]:
        """Values by key for waves (n,), and the reasons for metrics that failed."""
        if not original.any():
            return {}, dict.fromkeys(self._metrics, "the original is silent")
        return self._compute(list(self._metrics), original, restored)

    def compute_without_original(self, wave: Wave) -> tuple[dict[str, float], dict[str, str]]:
        """As `compute`, with the metrics that need no original."""
        return self._compute([key for key in self._metrics if key in WITHOUT_ORIGINAL], wave, wave)

    def _compute(
        self, keys: list[str], original: Wave, restored: Wave
    ) -> tuple[dict[str, float], dict[str, str]]:
        values: dict[str, float] = {}
        failed: dict[str, str] = {}
        for key in keys:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    values[key] = _finite(self._metrics[key](original, restored))
            except Exception as error:  # other packages may raise anything
                failed[key] = _reason(error)
        return values, failed


def _load(key: str, recognizer: Path | None) -> MetricFunction:
    return WordErrors(recognizer) if key == WITH_RECOGNIZER else _LOADERS[key]()


def _load_pesq(band: Literal["wb", "nb"]) -> MetricFunction:
    load_package("pesq")
    return functools.partial(pesq, band=band)


def _load_stoi(extended: bool) -> MetricFunction:
    load_package("pystoi")
    return functools.partial(stoi, extended=extended)


def _load_mel() -> MetricFunction:
    with using_torch():
        import torch

        from bigcodec_models.losses.choices import PAPER_WINDOWS
        from bigcodec_models.losses.spectral import MultiScaleMelLoss
    loss = MultiScaleMelLoss()

    def metric(original: Wave, restored: Wave) -> float:
        if len(original) <= max(PAPER_WINDOWS) // 2:
            raise ValueError(f"shorter than {max(PAPER_WINDOWS) // 2 + 1} samples")
        with torch.inference_mode():
            waves = (torch.from_numpy(wave)[None] for wave in (restored, original))
            return float(loss(*waves))

    return metric


def _load_similarity(kind: Literal["ResemblyzerSimilarity", "WavlmSimilarity"]) -> MetricFunction:
    with using_torch():
        from bigcodec_cli.evaluation.metrics import speaker_similarity
    metric: MetricFunction = getattr(speaker_similarity, kind)()
    return metric


def _load_distillmos() -> MetricFunction:
    with using_torch():
        from bigcodec_cli.evaluation.metrics.distillmos import DistillMos
    return DistillMos()


def _load_dnsmos() -> MetricFunction:
    package: Any = load_package("speechmos.dnsmos")

    def metric(_original: Wave, restored: Wave) -> float:
        if not len(restored):
            raise ValueError("no samples")  # the package would repeat them in an endless loop
        return float(package.run(restored, sr=SAMPLE_RATE)["ovrl_mos"])

    return metric


_LOADERS: dict[str, Callable[[], MetricFunction]] = {
    "pesq_wb": lambda: _load_pesq("wb"),
    "pesq_nb": lambda: _load_pesq("nb"),
    "stoi": lambda: _load_stoi(False),
    "estoi": lambda: _load_stoi(True),
    "mcd": CepstralDistortion,
    "sim": lambda: _load_similarity("ResemblyzerSimilarity"),
    "sim_wavlm": lambda: _load_similarity("WavlmSimilarity"),
    "mel": _load_mel,
    "dnsmos": _load_dnsmos,
    "distillmos": _load_distillmos,
}


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"the result is {value}")
    return value


def _reason(error: Exception) -> str:
    """One line."""
    return " ".join(str(error).split()) or type(error).__name__
