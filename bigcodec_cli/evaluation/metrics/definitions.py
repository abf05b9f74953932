"""The measures: what each is called, which way is better, what it means. Loads no torch."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure: its key in JSON, its name, and `better`, which is "high", "low" or ""."""

    key: str
    title: str
    better: str
    digits: int
    unit: str = ""
    meaning: str


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
        meaning="The same below 3.4 kHz, on P.862.1's scale, to 4.5.",
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
        meaning="Its extended form, stricter: Jensen and Taal 2016.",
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
        meaning="The same with WavLM x-vectors (wavlm-base-plus-sv). Not to be mixed with SIM.",
    ),
    Metric(
        key="mel",
        title="Mel",
        better="low",
        digits=2,
        meaning="Distance of log mel spectra at seven resolutions: our training loss, unweighted.",
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
        meaning="Every byte of the files, headers included, over the seconds of speech.",
    ),
    Metric(
        key="entropy_bits",
        title="Entropy",
        better="",
        digits=2,
        unit="bits",
        meaning="Order-0 entropy of a token. Too low where tokens are few: n tokens never show "
        "more than log2 n bits.",
    ),
    Metric(
        key="approx_kbps",
        title="approx. kbit/s",
        better="low",
        digits=2,
        meaning="That entropy times the tokens a second.",
    ),
    Metric(
        key="codebook_used",
        title="Codes used",
        better="",
        digits=0,
        meaning="How many different codes occur.",
    ),
    Metric(
        key="perplexity",
        title="Perplexity",
        better="",
        digits=0,
        meaning="Two to the power of the entropy: as many equally frequent codes would have it.",
    ),
    Metric(
        key="encode_x_realtime",
        title="Encoding",
        better="high",
        digits=1,
        unit="× real time",
        meaning="Seconds of speech a second; loading a model is not counted, a program's start is.",
    ),
    Metric(
        key="decode_x_realtime",
        title="Decoding",
        better="high",
        digits=1,
        unit="× real time",
        meaning="The same for restoring.",
    ),
)

METRICS = QUALITY + COST
WITHOUT_ORIGINAL = ("dnsmos",)
