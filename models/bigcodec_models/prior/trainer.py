"""Fitting a prior to tokens."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bigcodec_models.arrays import AnyTokens
from bigcodec_models.prior.code_order import similar_order
from bigcodec_models.prior.integer_export import Arrays, quantized
from bigcodec_models.prior.network import PriorConfig, PriorNetwork


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a prior is fitted. Sequences are cut into pieces of `frames` frames, and a step has
    `batch` of them; `warmup` is in steps."""

    epochs: int = 16
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    frames: int = 160
    batch: int = 32
    warmup: int = 100
    seed: int = 0
    network: PriorConfig = PriorConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitReport:
    """State of a fit: `tokens` of `total_tokens` have been used, and `bits` is the recent mean of
    bits per token. At the end of each epoch, `held_out_bits` is that of held-out sequences."""

    epoch: int
    tokens: int
    total_tokens: int
    bits: float
    held_out_bits: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FittedPrior:
    """The arrays of a prior file by name (format/SPEC.md section 8), the network they are from, and
    the order (size,) of the codes of each codebook."""

    arrays: Arrays
    network: PriorNetwork
    orders: tuple[npt.NDArray[np.int64], ...]


def fit_prior(
    sequences: Sequence[AnyTokens],
    held_out: Sequence[AnyTokens],
    codes: Sequence[npt.NDArray[np.floating]],
    config: FitConfig,
    report: Callable[[FitReport], None] = lambda _: None,
) -> FittedPrior:
    """Fit a network to sequences of tokens (T, K) of a model whose codebooks are `codes`, (size, d)
    each.

    Raises:
        ValueError: no tokens, or tokens outside the codebooks.
    """
    if not any(len(sequence) for sequence in sequences):
        raise ValueError("there are no tokens to fit a prior to")
    held_out = [sequence for sequence in held_out if len(sequence)]
    _check([*sequences, *held_out], codes)
    orders = [similar_order(table) for table in codes]
    places = [_places(sequence, orders) for sequence in sequences]
    sorted_codes = [
        torch.from_numpy(table[order].astype(np.float32))
        for table, order in zip(codes, orders, strict=True)
    ]
    torch.manual_seed(config.seed)
    network = PriorNetwork(config.network, sorted_codes)
    _train(network, places, [_places(s, orders) for s in held_out], config, report)
    arrays: Arrays = {f"{k}.order": order.astype(np.uint16) for k, order in enumerate(orders)}
    arrays.update(quantized(network))
    return FittedPrior(arrays=arrays, network=network, orders=tuple(orders))


def bits_per_token(
    network: PriorNetwork, places: Sequence[AnyTokens], frames: int | None = None
) -> float:
    """Mean cost in bits per token of sequences of places (T, K), with a new state every `frames`
    frames."""
    network.eval()
    pieces = _cut(places, frames or max(len(s) for s in places))
    total, count = 0.0, 0
    with torch.no_grad():
        for batch, mask in _batches(pieces, 16, None):
            costs = network(batch, mask)
            total, count = total + float(costs.sum()), count + len(costs)
    network.train()
    return total / max(count, 1) / math.log(2)


def _train(
    network: PriorNetwork,
    sequences: Sequence[AnyTokens],
    held_out: Sequence[AnyTokens],
    config: FitConfig,
    report: Callable[[FitReport], None],
) -> None:
    random = np.random.default_rng(config.seed)
    books = sequences[0].shape[1]
    epoch_tokens = books * sum(len(sequence) for sequence in sequences)
    total, seen, step, recent = epoch_tokens * config.epochs, 0, 0, 0.0
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, (0.9, 0.98), weight_decay=config.weight_decay
    )
    for epoch in range(config.epochs):
        for batch, mask in _batches(_cut(sequences, config.frames, random), config.batch, random):
            rate = min(1.0, (step + 1) / config.warmup) * _cosine(seen / total)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * rate
            loss = network(batch, mask).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            bits = float(loss.detach()) / math.log(2)
            recent = recent + 0.05 * (bits - recent) if step else bits
            step, seen = step + 1, seen + books * int(mask.sum())
            if step % 20 == 0:
                report(FitReport(epoch=epoch, tokens=seen, total_tokens=total, bits=recent))
        bits_out = bits_per_token(network, held_out) if held_out else None
        report(
            FitReport(
                epoch=epoch,
                tokens=seen,
                total_tokens=total,
                bits=recent,
                held_out_bits=bits_out,
            )
        )


def _cosine(done: float) -> float:
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def _check(sequences: Sequence[AnyTokens], codes: Sequence[npt.NDArray[np.floating]]) -> None:
    sizes = np.array([len(table) for table in codes])
    for sequence in sequences:
        if sequence.ndim != 2 or sequence.shape[1] != len(codes):
            raise ValueError(f"tokens must have shape (T, {len(codes)})")
        if sequence.size and (sequence.min() < 0 or (sequence >= sizes).any()):
            raise ValueError("a token is outside its codebook")


def _places(tokens: AnyTokens, orders: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """The places of tokens (T, K) in the order of their codebooks: (T, K)."""
    ordered = np.empty(tokens.shape, dtype=np.int64)
    for k, order in enumerate(orders):
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        ordered[:, k] = place[tokens[:, k]]
    return ordered


def _cut(
    sequences: Sequence[AnyTokens], frames: int, random: np.random.Generator | None = None
) -> list[AnyTokens]:
    """Pieces of at most `frames` frames; with `random`, cut at a random offset."""
    pieces: list[AnyTokens] = []
    for sequence in sequences:
        first = int(random.integers(0, frames)) if random and len(sequence) > frames else 0
        cuts = [0, *range(first or frames, len(sequence), frames), len(sequence)]
        pieces += [sequence[a:b] for a, b in zip(cuts, cuts[1:], strict=False) if b > a]
    return pieces


def _batches(
    pieces: Sequence[AnyTokens], size: int, random: np.random.Generator | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Places (B, T, K) and masks (B, T); pieces of similar length share a batch."""
    noise = random.uniform(-20, 20, len(pieces)) if random else np.zeros(len(pieces))
    order = np.argsort(np.array([len(piece) for piece in pieces]) + noise, kind="stable")
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    if random:
        random.shuffle(groups)
    for group in groups:
        length = max(len(pieces[i]) for i in group)
        places = np.zeros((len(group), length, pieces[0].shape[1]), dtype=np.int64)
        mask = np.zeros((len(group), length), dtype=bool)
        for row, index in enumerate(group):
            places[row, : len(pieces[index])] = pieces[index]
            mask[row, : len(pieces[index])] = True
        yield torch.from_numpy(places), torch.from_numpy(mask)
