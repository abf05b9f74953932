"""Makes golden/speech-*.json and golden/speech-*.bcdc, which every later version must read.

    python tests/cli/model_store/make_golden.py

The tokens are made anew only where a .json is missing: which ones an encoder makes may differ
from machine to machine in the last bit. Run it only when version 1 of the container changes before
its release, or another model ships in lite-5's place.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

import bcdc
from bigcodec_cli.model_store.headers import geometry_of
from bigcodec_cli.model_store.priors import prior_for_model
from bigcodec_models import Codec
from bigcodec_models.config import F0_MODES

MODEL = "lite-5"
GOLDEN = Path(__file__).parent / "golden"
SPEECH = Path(__file__).parents[3] / "examples" / "speech.flac"


def main() -> None:
    """Write the files of either F0 mode."""
    for f0 in F0_MODES:
        make(f0)


def make(f0: str) -> None:
    """Write the files of one mode."""
    wave, rate = soundfile.read(SPEECH, dtype="float32")
    codec = Codec.load(MODEL, f0=f0)
    listed = GOLDEN / f"speech-{f0}.json"
    if not listed.exists():
        listed.write_text(json.dumps(codec.encode(wave).tolist()) + "\n")
    geometry = geometry_of(codec)
    prior = prior_for_model(codec.fingerprint, geometry)
    header = bcdc.Header(
        fingerprint=codec.fingerprint[:6], sample_rate=int(rate), geometry=geometry
    )
    tokens = np.array(json.loads(listed.read_text()), np.int32)
    header = bcdc.header_for(header, bcdc.Coder.PRIOR, prior)
    data = bcdc.write(header, tokens.reshape(1, len(tokens), -1), len(wave), prior)
    (GOLDEN / f"speech-{f0}.bcdc").write_bytes(data)


if __name__ == "__main__":
    main()
