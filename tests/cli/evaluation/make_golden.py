"""Writes golden.npz: results of the published packages for parts of examples/speech.flac.

Not run by the tests. Last run with Python 3.11, Resemblyzer 0.1.4, librosa 0.11.0, webrtcvad
2.0.10, pysptk 1.0.1, pyworld 0.3.5, scipy 1.14.0, torch 2.13.0 and setuptools 79, because the
packages need modules that later versions of scipy and setuptools do not have:

    python make_golden.py ../../../examples/speech.flac golden.npz
"""

from __future__ import annotations

import importlib
import sys

import numpy as np
import soundfile

PARTS = {"whole": slice(0, None), "start": slice(0, 16000), "quiet": slice(40000, 80000)}


def main() -> None:
    wave, rate = soundfile.read(sys.argv[1], dtype="float32")
    resemblyzer = importlib.import_module("resemblyzer")
    encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)
    golden = {}
    for name, part in PARTS.items():
        loud = wave[part] * (0.05 if name == "quiet" else 1)
        raised = resemblyzer.audio.normalize_volume(loud, -30, True)
        golden[f"embedding_{name}"] = encoder.embed_utterance(raised)
    pyworld, pysptk = importlib.import_module("pyworld"), importlib.import_module("pysptk")
    second = wave[16000:24000].astype(np.float64)
    pitch, times = pyworld.harvest(second, rate)
    golden["envelope"] = pyworld.cheaptrick(second, pitch, times, rate)[::20]
    golden["mel_cepstra"] = pysptk.sp2mc(golden["envelope"], order=24, alpha=0.41)
    np.savez_compressed(sys.argv[2], **golden)


if __name__ == "__main__":
    main()
