"""Which class stands for a peer that `eval --against` names."""

from __future__ import annotations

from bigcodec_cli.evaluation.codecs.base import System
from bigcodec_cli.evaluation.codecs.programs import Codec2, Opus
from bigcodec_cli.evaluation.config import PeerName


def load_peer(name: PeerName) -> System:
    """A peer ready to run.

    Raises:
        MissingError: its program, package or weights are not here.
        PeerError: its model has no such rate.
    """
    if name.codec == "opus":
        return Opus(name)
    if name.codec == "codec2":
        return Codec2(name)
    from bigcodec_cli.evaluation.codecs.neural import Dac, Encodec

    return Encodec(name) if name.codec == "encodec" else Dac(name)
