"""Count tables: what a token costs given the one before it (format/SPEC.md section 6.4)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bigcodec_models.prior.code_order import group_shape

CLASSES = 32
_GROUP_WEIGHT = 60.0
_MEMBER_WEIGHT = 50.0
_UNITS = 16
"""Costs are in sixteenths of a bit."""

Costs = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


def count_tables(sequences: list[Places], size: int) -> tuple[Costs, Costs]:
    """Costs of groups (groups + 1, groups) by the group before, and of members (groups, classes
    + 1, members) by its class, the first of each for none; from sequences of places (T,).

    Counts are smoothed towards those of a simpler context, as if it had been seen 50 or 60 times
    (MacKay and Peto, Natural Language Engineering 1, 1995).
    """
    groups, members = group_shape(size)
    classes = min(groups, CLASSES)
    group = np.concatenate([places // members for places in sequences])
    member = np.concatenate([places % members for places in sequences])
    before = np.concatenate([np.append(-1, places[:-1] // members) for places in sequences])
    kind = np.where(before < 0, 0, 1 + before * classes // groups)

    pairs = np.bincount((before + 1) * groups + group, minlength=(groups + 1) * groups)
    by_group = pairs.reshape(groups + 1, groups).astype(np.float64)
    by_group += _GROUP_WEIGHT * _shares(by_group.sum(axis=0) + 1.0)

    cells = (group * (classes + 1) + kind) * members + member
    counts = np.bincount(cells, minlength=groups * (classes + 1) * members)
    by_class = counts.reshape(groups, classes + 1, members).astype(np.float64)
    within = _shares(by_class.sum(axis=1, keepdims=True) + 1.0)
    by_class += _MEMBER_WEIGHT * within
    return _costs(_shares(by_group)), _costs(_shares(by_class))


def _shares(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True), np.float64)


def _costs(shares: npt.NDArray[np.float64]) -> Costs:
    return np.clip(np.round(-np.log2(shares) * _UNITS), 0, 255).astype(np.uint8)
