"""Which class stands for a peer that `eval --against` names."""

from __future__ import annotations

from bigcodec_cli.evaluation.names import PeerName
from bigcodec_cli.evaluation.programs import Codec2, Opus
from bigcodec_cli.evaluation.systems import System


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
    from bigcodec_cli.evaluation.neural_peers import Dac, Encodec

    return Encodec(name) if name.codec == "encodec" else Dac(name)
