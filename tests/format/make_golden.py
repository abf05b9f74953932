"""Makes the coded containers in golden/, which must read back the same for ever.

    python tests/format/make_golden.py

They were made once: version 1 is frozen. Run it only to add a file of another version.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from conftest import MODEL, toy_prior_bytes  # type: ignore[import-not-found]

import bcdc

FOLDER = Path(__file__).parent / "golden"
GEOMETRY = bcdc.Geometry(hop=1600, codebook_sizes=(300, 5))
WITH_F0 = bcdc.Geometry(hop=1600, codebook_sizes=(300, 154), f0=True)
FRAMES = 190


def tokens() -> bcdc.Tokens:
    """Two channels that walk about in their codebooks; three blocks, the last short."""
    random = np.random.default_rng(7)
    walk = random.integers(-4, 5, (2, FRAMES, 2)).cumsum(axis=1) // 2
    wrapped: bcdc.Tokens = (walk % np.array(GEOMETRY.codebook_sizes)).astype(np.int32)
    return wrapped


def container(
    coder: bcdc.Coder, prior: bcdc.Prior | None, geometry: bcdc.Geometry = GEOMETRY
) -> bytes:
    """The tokens, coded."""
    header = bcdc.Header(fingerprint=MODEL, sample_rate=16000, channels=2, geometry=geometry)
    return bcdc.write(bcdc.header_for(header, coder, prior), tokens(), FRAMES * GEOMETRY.hop, prior)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    stored = toy_prior_bytes(GEOMETRY)
    (FOLDER / "toy.bcdp").write_bytes(stored)
    (FOLDER / "tokens.txt").write_text(
        "\n".join(" ".join(map(str, channel.reshape(-1).tolist())) for channel in tokens()) + "\n"
    )
    for coder in bcdc.Coder:
        data = container(coder, bcdc.read_prior(stored))
        (FOLDER / f"{coder.name.lower()}.bcdc").write_bytes(data)
    (FOLDER / "f0.bcdc").write_bytes(container(bcdc.Coder.ADAPTIVE, None, WITH_F0))


if __name__ == "__main__":
    main()
