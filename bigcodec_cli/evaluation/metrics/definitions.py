"""The metrics: their keys, names and meanings. Loads no torch."""

from __future__ import annotations

import dataclasses

_ARROWS = {"high": " ↑", "low": " ↓", "": ""}


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric: its key in JSON, its title, and `better`, which is "high", "low" or ""."""

    key: str
    title: str
    better: str
    digits: int
    meaning: str
    unit: str = ""

    @property
    def label(self) -> str:
        """The title with the unit and an arrow towards better values."""
        unit = f", {self.unit}" if self.unit else ""
        return f"{self.title}{unit}{_ARROWS[self.better]}"

    def text(self, value: float) -> str:
        """A value with this metric's digits."""
        return f"{value:,.{self.digits}f}".replace("-", "−")


# fmt: off
QUALITY = (
    Metric("pesq_wb", "PESQ-WB", "high", 2,
           "Perceived quality, 1.0 to 4.6, wide band: ITU-T P.862.2 (package pesq)."),
    Metric("pesq_nb", "PESQ-NB", "high", 2,
           "PESQ below 3.4 kHz, on the scale of P.862.1, 1.0 to 4.5."),
    Metric("stoi", "STOI", "high", 3,
           "Intelligibility, at most 1: Taal et al. 2011 (package pystoi)."),
    Metric("estoi", "ESTOI", "high", 3,
           "Extended STOI, which is stricter: Jensen and Taal 2016."),
    Metric("mcd", "MCD", "low", 2,
           "Mel cepstral distortion: 24 coefficients of WORLD envelopes, all-pass constant 0.41, "
           "5 ms frames within 40 dB of the loudest, no time warping.", unit="dB"),
    Metric("sim", "SIM", "high", 3,
           "Speaker similarity, at most 1: cosine of Resemblyzer's voice embeddings."),
    Metric("sim_wavlm", "SIM-WavLM", "high", 3,
           "Speaker similarity by WavLM x-vectors (wavlm-base-plus-sv); not comparable to SIM."),
    Metric("mel", "Mel", "low", 2,
           "Distance of log mel spectra at seven resolutions: the unweighted training loss."),
    Metric("dnsmos", "DNSMOS", "high", 2,
           "Overall quality, 1 to 5, that Microsoft's DNSMOS P.835 predicts from the restored wave "
           "alone (package speechmos)."),
    Metric("distillmos", "DistillMOS", "high", 2,
           "Overall quality, 1 to 5, that DistillMOS predicts from the restored wave alone "
           "(package distillmos). Not for a model that was trained on it."),
    Metric("wer", "WER", "low", 1,
           "Words that a speech recognizer hears otherwise in the restored wave than in the "
           "original (--asr).", unit="%"),
)

COST = (
    Metric("kbps_on_disk", "kbit/s on disk", "low", 2,
           "All bytes of the coded files, headers included, per second of speech."),
    Metric("entropy_bits", "Entropy", "", 2,
           "Order-0 entropy of a token. With few tokens it is too low: that of n tokens is at most "
           "log2 n bits.", unit="bits"),
    Metric("approx_kbps", "approx. kbit/s", "low", 2,
           "The entropy times the tokens per second."),
    Metric("codebook_used", "Codes used", "", 0,
           "The number of different codes that occur."),
    Metric("perplexity", "Perplexity", "", 0,
           "2 to the power of the entropy."),
    Metric("encode_x_realtime", "Encoding", "high", 1,
           "Seconds of speech coded per second. The time to load a model is not included, the time "
           "to start a program is.", unit="× real time"),
    Metric("decode_x_realtime", "Decoding", "high", 1,
           "Seconds of speech decoded per second, timed in the same way.", unit="× real time"),
)
# fmt: on

METRICS = QUALITY + COST
WITHOUT_ORIGINAL = ("dnsmos", "distillmos")
"""Metrics of the restored wave alone."""
WITH_RECOGNIZER = "wer"
"""The metric that needs a speech recognizer."""
