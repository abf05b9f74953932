"""Containers of real speech, with the priors that ship; see make_vectors.py."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
from vector_containers import ROOT, Vector, outcome  # type: ignore[import-not-found]

import bcdc

SHIPPED = sorted((ROOT / "models/bigcodec_models/weights/priors").glob("*.bcdp"))


def vectors() -> Iterator[Vector]:
    """Speech with each of the priors that ship."""
    for path in SHIPPED:
        prior = bcdc.read_prior(path.read_bytes())
        coded = prior.geometry.codebooks > 1
        mode = "coded" if coded else "predicted"
        listed = ROOT / f"tests/cli/model_store/golden/speech-{mode}.json"
        tokens = np.array(json.loads(listed.read_text()), np.int32)[:160].reshape(1, 160, -1)
        geometry = dataclasses.replace(prior.geometry, f0=coded)
        header = bcdc.Header(fingerprint=prior.model, sample_rate=16000, geometry=geometry)
        yield (
            f"good-shipped-prior-{mode}.bcdc",
            bcdc.write(bcdc.header_for(header, bcdc.Coder.PRIOR, prior), tokens, 32000, prior),
            outcome(tokens),
            f"two seconds of examples/speech.flac by lite-5 and a prior that ships, F0 {mode}",
        )
