"""Makes golden/speech.json and golden/speech.bcdc, which every later version must read.

    python tests/cli/model_store/make_golden.py

The tokens are made anew only where speech.json is missing: which ones an encoder makes may differ
from machine to machine in the last bit. Run it only when version 1 of the container changes before
its release, or another model ships in lite-4's place.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import soundfile

import bcdc
from bigcodec_cli.model_store.priors import prior_for_model
from bigcodec_models import Codec

MODEL = "lite-4"
GOLDEN = Path(__file__).parent / "golden"
SPEECH = Path(__file__).parents[3] / "examples" / "speech.flac"


def main() -> None:
    """Write both files."""
    wave, rate = soundfile.read(SPEECH, dtype="float32")
    codec = Codec.load(MODEL)
    listed = GOLDEN / "speech.json"
    if not listed.exists():
        listed.write_text(json.dumps(codec.encode(wave).tolist()) + "\n")
    geometry = bcdc.Geometry(hop=codec.hop, codebook_sizes=codec.config.token_sizes, f0=True)
    prior = prior_for_model(codec.fingerprint, geometry)
    header = bcdc.Header(
        fingerprint=codec.fingerprint[:6], sample_rate=int(rate), geometry=geometry
    )
    file = io.BytesIO()
    with bcdc.Writer(file, bcdc.header_for(header, bcdc.Coder.PRIOR, prior), prior) as writer:
        writer.write(np.array(json.loads(listed.read_text()), np.int32)[None])
        writer.finish(len(wave))
    (GOLDEN / "speech.bcdc").write_bytes(file.getvalue())


if __name__ == "__main__":
    main()
