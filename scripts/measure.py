"""Mean STOI and PESQ-WB of a model on folders of 16 kHz speech, by source.

    python scripts/measure.py MODEL FOLDER

The source is the part of a file's name before its first underscore. Needs the `eval` extra.
"""

from __future__ import annotations

import collections
import sys
from pathlib import Path

import numpy as np
import soundfile
from pesq import pesq
from pystoi import stoi

from bigcodec_models import Codec


def main() -> None:
    codec = Codec.load(sys.argv[1])
    rows: dict[str, list[tuple[float, float]]] = collections.defaultdict(list)
    codes: set[int] = set()
    for path in sorted(Path(sys.argv[2]).glob("*.flac")):
        wave, rate = soundfile.read(path, dtype="float32")
        assert rate == codec.sample_rate and wave.ndim == 1, path
        tokens = codec.encode(wave)
        codes.update(tokens.tolist())
        restored = codec.decode(tokens, len(wave))
        scores = (stoi(wave, restored, rate), pesq(rate, wave, restored, "wb"))
        rows[path.stem.split("_")[0]].append(scores)
    print(f"{'source':<24} {'files':>5} {'STOI':>6} {'PESQ-WB':>8}")
    for source, values in sorted(rows.items()):
        means = np.mean(values, axis=0)
        print(f"{source:<24} {len(values):>5} {means[0]:>6.3f} {means[1]:>8.3f}")
    every = [v for source, values in rows.items() for v in values if source.startswith("libri")]
    if every:
        means = np.mean(every, axis=0)
        print(f"{'all LibriSpeech':<24} {len(every):>5} {means[0]:>6.3f} {means[1]:>8.3f}")
    print(f"{len(codes)} different codes used")


if __name__ == "__main__":
    main()
