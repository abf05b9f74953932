"""The class for each baseline that `eval --baselines` names."""

from __future__ import annotations

from bigcodec_cli.evaluation.codecs.base import CodecUnderTest
from bigcodec_cli.evaluation.codecs.programs import Codec2, Opus
from bigcodec_cli.evaluation.config import BaselineName
from bigcodec_cli.evaluation.packages import using_torch


def load_baseline(name: BaselineName) -> CodecUnderTest:
    """A baseline ready to run.

    Raises:
        MissingError: its program, package or weights are not on this machine.
        BaselineError: its model has no such bit rate.
    """
    if name.codec == "opus":
        return Opus(name)
    if name.codec == "codec2":
        return Codec2(name)
    with using_torch():
        from bigcodec_cli.evaluation.codecs.neural import Dac, Encodec

    return Encodec(name) if name.codec == "encodec" else Dac(name)
