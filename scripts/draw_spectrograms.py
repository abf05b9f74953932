"""Spectrograms of clips, a row each: the original, then the output of each model.

    python scripts/draw_spectrograms.py OUTPUT.png MODEL[,MODEL...] CLIP...

80 columns a second, 0 to 8 kHz, black at the clip's loudest and white 70 dB below; the first
four seconds of each clip.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from bigcodec_cli.pages.media import grey_png, loudest_magnitude, spectrogram_shades
from bigcodec_models import Codec
from bigcodec_models.config import SAMPLE_RATE

_SECONDS = 4
_GAP, _WHITE = 6, 15
Pixels = npt.NDArray[np.uint8]


def main(output: str, models: str, *clips: str) -> None:
    """Write the picture."""
    codecs = [Codec.load(name, "cpu") for name in models.split(",")]
    rows = [_row(Path(clip), codecs) for clip in clips]
    picture = _joined(rows, axis=0)
    Path(output).write_bytes(grey_png(picture))


def _row(clip: Path, codecs: list[Codec]) -> Pixels:
    wave, rate = soundfile.read(clip, dtype="float32", frames=_SECONDS * SAMPLE_RATE)
    if rate != SAMPLE_RATE or wave.ndim != 1:
        raise SystemExit(f"{clip}: not 16 kHz mono")
    waves = [wave, *(codec.decode(codec.encode(wave), len(wave)) for codec in codecs)]
    loudest = loudest_magnitude(wave)
    shades = [spectrogram_shades(one, loudest) for one in waves]
    columns = _SECONDS * SAMPLE_RATE // 200 + 1
    padded = [
        np.pad(one, ((0, 0), (0, columns - one.shape[1])), constant_values=_WHITE) for one in shades
    ]
    return _joined(padded, axis=1)


def _joined(parts: list[Pixels], axis: int) -> Pixels:
    gap = [(0, 0), (0, 0)]
    gap[axis] = (0, _GAP)
    spaced = [np.pad(part, gap, constant_values=_WHITE) for part in parts]
    return np.concatenate(spaced, axis=axis).astype(np.uint8)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
