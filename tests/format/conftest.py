"""Priors with random numbers in them, for tests of the container."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

import bcdc

MODEL = bytes.fromhex("0123456789ab")


def toy_arrays(shape: bcdc.PriorShape, seed: int = 0) -> dict[str, npt.NDArray[np.integer]]:
    """Arrays that make predictions neither flat nor certain."""
    random = np.random.default_rng(seed)
    arrays: dict[str, npt.NDArray[np.integer]] = {}
    for name, kind, dims in shape.arrays():
        if name.endswith(".order"):
            arrays[name] = random.permutation(dims[0])
        elif name.endswith(".factor"):
            arrays[name] = random.integers(200, 3000, dims)
        elif name.endswith(".offset"):
            arrays[name] = random.integers(-(1 << 26), 1 << 26, dims)
        else:
            limit = 120 if kind == "i1" else 900
            arrays[name] = random.integers(-limit, limit, dims)
    return arrays


def toy_prior_bytes(geometry: bcdc.Geometry, seed: int = 0) -> bytes:
    """The file of a prior of the model MODEL."""
    shape = bcdc.PriorShape(model=MODEL, geometry=geometry, inputs=6, width=12, hidden=5)
    return bcdc.write_prior(shape, toy_arrays(shape, seed))


ToyPrior = Callable[..., bcdc.Prior]


@pytest.fixture(scope="session")
def toy_prior() -> ToyPrior:
    """Makes a prior of the model 0123456789ab for a geometry."""
    return lambda *args, **more: bcdc.read_prior(toy_prior_bytes(*args, **more))
