"""The metrics: their keys, names and meanings. Loads no torch."""

from __future__ import annotations

import dataclasses

_ARROWS = {"high": " ↑", "low": " ↓", "": ""}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric: its key in JSON, its title, and `better`, which is "high", "low" or ""."""

    key: str
    title: str
    better: str
    digits: int
    unit: str = ""
    meaning: str

    @property
    def label(self) -> str:
        """The title with the unit and an arrow towards better values."""
        unit = f", {self.unit}" if self.unit else ""
        return f"{self.title}{unit}{_ARROWS[self.better]}"

    def text(self, value: float) -> str:
        """A value with this metric's digits."""
        return f"{value:,.{self.digits}f}".replace("-", "−")


QUALITY = (
    Metric(
        key="pesq_wb",
        title="PESQ-WB",
        better="high",
        digits=2,
        meaning="Perceived quality, 1.0 to 4.6, wide band: ITU-T P.862.2 (package pesq).",
    ),
    Metric(
        key="pesq_nb",
        title="PESQ-NB",
        better="high",
        digits=2,
        meaning="PESQ below 3.4 kHz, on the scale of P.862.1, 1.0 to 4.5.",
    ),
    Metric(
        key="stoi",
        title="STOI",
        better="high",
        digits=3,
        meaning="Intelligibility, at most 1: Taal et al. 2011 (package pystoi).",
    ),
    Metric(
        key="estoi",
        title="ESTOI",
        better="high",
        digits=3,
        meaning="Extended STOI, which is stricter: Jensen and Taal 2016.",
    ),
    Metric(
        key="mcd",
        title="MCD",
        better="low",
        digits=2,
        unit="dB",
        meaning="Mel cepstral distortion: 24 coefficients of WORLD envelopes, all-pass constant "
        "0.41, 5 ms frames within 40 dB of the loudest, no time warping.",
    ),
    Metric(
        key="sim",
        title="SIM",
        better="high",
        digits=3,
        meaning="Speaker similarity, at most 1: cosine of Resemblyzer's voice embeddings.",
    ),
    Metric(
        key="sim_wavlm",
        title="SIM-WavLM",
        better="high",
        digits=3,
        meaning="Speaker similarity by WavLM x-vectors (wavlm-base-plus-sv). Never compare it with "
        "SIM.",
    ),
    Metric(
        key="mel",
        title="Mel",
        better="low",
        digits=2,
        meaning="Distance of log mel spectra at seven resolutions: the unweighted training loss.",
    ),
    Metric(
        key="dnsmos",
        title="DNSMOS",
        better="high",
        digits=2,
        meaning="Overall quality, 1 to 5, that Microsoft's DNSMOS P.835 predicts from the "
        "restored wave alone (package speechmos).",
    ),
)

COST = (
    Metric(
        key="kbps_on_disk",
        title="kbit/s on disk",
        better="low",
        digits=2,
        meaning="All bytes of the coded files, headers included, per second of speech.",
    ),
    Metric(
        key="entropy_bits",
        title="Entropy",
        better="",
        digits=2,
        unit="bits",
        meaning="Order-0 entropy of a token. With few tokens it is too low: that of n tokens is at "
        "most log2 n bits.",
    ),
    Metric(
        key="approx_kbps",
        title="approx. kbit/s",
        better="low",
        digits=2,
        meaning="The entropy times the tokens per second.",
    ),
    Metric(
        key="codebook_used",
        title="Codes used",
        better="",
        digits=0,
        meaning="The number of different codes that occur.",
    ),
    Metric(
        key="perplexity",
        title="Perplexity",
        better="",
        digits=0,
        meaning="2 to the power of the entropy.",
    ),
    Metric(
        key="encode_x_realtime",
        title="Encoding",
        better="high",
        digits=1,
        unit="× real time",
        meaning="Seconds of speech coded per second. The time to load a model is not included, the "
        "time to start a program is.",
    ),
    Metric(
        key="decode_x_realtime",
        title="Decoding",
        better="high",
        digits=1,
        unit="× real time",
        meaning="Seconds of speech decoded per second, timed in the same way.",
    ),
)

METRICS = QUALITY + COST
WITHOUT_ORIGINAL = ("dnsmos",)
