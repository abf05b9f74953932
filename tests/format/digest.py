"""Codes blocks with a network as wide as a real one, and prints a digest of the bytes.

Run by test_golden.py in processes whose matrix products differ.
"""

from __future__ import annotations

import hashlib
import sys

import numpy as np
from conftest import MODEL, toy_arrays  # type: ignore[import-not-found]

import bcdc
from bcdc.prior_coder import NetworkCoder

GEOMETRY = bcdc.Geometry(codebook_sizes=(500,))


def main() -> None:
    shape = bcdc.PriorShape(model=MODEL, geometry=GEOMETRY, inputs=72, width=300, hidden=64)
    arrays = toy_arrays(shape)
    for name in arrays:
        if name.endswith(".factor"):
            arrays[name] = arrays[name] // 6
    prior = bcdc.read_prior(bcdc.write_prior(shape, arrays))
    coder = NetworkCoder(prior.network, prior.groupings, GEOMETRY, channels=1)
    random = np.random.default_rng(0)
    blocks = [random.integers(0, 500, (1, 60, 1)).astype(np.int32) for _ in range(7)]
    payloads = coder.encode(blocks)
    assert payloads == [coder.encode([block])[0] for block in blocks]
    decoded = coder.decode(payloads, 60)
    assert all(np.array_equal(a, b) for a, b in zip(decoded, blocks, strict=True))
    print(hashlib.sha256(b"".join(payloads)).hexdigest(), "numba" in sys.modules)


if __name__ == "__main__":
    main()
