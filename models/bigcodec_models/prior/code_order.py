"""An order of a codebook in which similar codes are neighbors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def group_shape(size: int) -> tuple[int, int]:
    """Number of groups, and members of each, for a codebook of `size` codes: about as many of one
    as of the other, members a power of two. The last group may have places that no code takes."""
    members = 1 << ((size - 1).bit_length() // 2)
    return -(-size // members), members


def similar_order(codes: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Indices (n,) of codes (n, d) such that each aligned run of 2^k of them lies together.

    The codes are cut in two across their direction of greatest variance, again and again, the
    first part always being a power of two: a balanced form of the k-d tree of principal axes
    (Sproull, Algorithmica 6, 1991).
    """
    return _ordered(codes.astype(np.float64), np.arange(len(codes)))


def _ordered(codes: npt.NDArray[np.float64], some: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    if len(some) < 2:
        return some
    centered = codes[some] - codes[some].mean(axis=0)
    axis = np.linalg.eigh(centered.T @ centered)[1][:, -1]
    # A sign that does not depend on the library: the largest part points up.
    along = centered @ (axis * np.sign(axis[np.abs(axis).argmax()]))
    ranked = some[np.argsort(along, kind="stable")]
    half = 1 << ((len(some) - 1).bit_length() - 1)
    return np.concatenate([_ordered(codes, ranked[:half]), _ordered(codes, ranked[half:])])
