"""PESQ and STOI, by the packages pesq and pystoi where they are installed."""

from __future__ import annotations

import importlib
import warnings
from typing import Literal

from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE


def pesq(original: Wave, restored: Wave, band: Literal["wb", "nb"] = "wb") -> float:
    """PESQ of waves (n,), wide band (ITU-T P.862.2) or narrow band (P.862.1): 1.0 to 4.6.

    Raises:
        ImportError: the package is not installed.
        ValueError: it gives no result, for lack of speech.
    """
    package = importlib.import_module("pesq")
    try:
        return float(package.pesq(SAMPLE_RATE, original, restored, band))
    except package.PesqError as error:
        reason = error.args[0] if error.args else type(error).__name__
        # The package gives its reasons as bytes.
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(text) from error


def stoi(original: Wave, restored: Wave, extended: bool = False) -> float:
    """STOI (Taal et al. 2011) of waves (n,), or ESTOI (Jensen and Taal 2016): at most 1.

    Raises:
        ImportError: the package is not installed.
        ValueError: there is too little speech.
    """
    package = importlib.import_module("pystoi")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # else it answers 1e-5 to too little speech
        try:
            return float(package.stoi(original, restored, SAMPLE_RATE, extended=extended))
        except (RuntimeWarning, IndexError) as error:
            raise ValueError("less than 0.4 s of speech without its pauses") from error
