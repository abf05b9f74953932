"""An order of a codebook in which similar codes are neighbors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def group_shape(size: int) -> tuple[int, int]:
    """Number of groups and of members per group for a codebook of `size` codes.

    The two numbers are about equal, and that of members is a power of two. The last group may have
    places without a code.
    """
    members = 1 << ((size - 1).bit_length() // 2)
    return -(-size // members), members


def similar_order(codes: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """An order (n,) of the indices of codes (n, d) in which each aligned run of 2^k is a cluster.

    The codes are split along their direction of greatest variance, recursively; the size of the
    first part is always a power of two. This is a balanced form of the k-d tree of principal axes
    (Sproull, Algorithmica 6, 1991).
    """
    return _ordered(codes.astype(np.float64), np.arange(len(codes)))


def _ordered(
    codes: npt.NDArray[np.float64], indices: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    if len(indices) < 2:
        return indices
    centered = codes[indices] - codes[indices].mean(axis=0)
    axis = np.linalg.eigh(centered.T @ centered)[1][:, -1]
    # The sign must not depend on the library: the largest component is made positive.
    projection = centered @ (axis * np.sign(axis[np.abs(axis).argmax()]))
    ranked = indices[np.argsort(projection, kind="stable")]
    half = 1 << ((len(indices) - 1).bit_length() - 1)
    return np.concatenate([_ordered(codes, ranked[:half]), _ordered(codes, ranked[half:])])
