"""The network of a prior as it is trained, in floating point, on the tokens of one model.

The container's coder computes with integers (format/SPEC.md section 7); `integer_export` converts
the weights for it.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.prior.code_order import group_shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """Sizes of the network: of the learned part of a token's embedding, of the state (`width`), and
    of the hidden layer before the group and the member of a token."""

    embedding: int = 64
    width: int = 256
    hidden: int = 64
    dropout: float = 0.1


class PriorHead(nn.Module):
    """The cost of a token given a state: that of its group plus that of its member of the group.

    `codes` (size, d) are in order of place; the score of a code depends on its vector.
    """

    codes: Tensor

    def __init__(self, config: PriorConfig, codes: Tensor) -> None:
        super().__init__()
        self.groups, self.members = group_shape(len(codes))
        hidden, places = config.hidden, self.groups * self.members
        filled = F.pad(codes, (0, 0, 0, places - len(codes)))
        self.register_buffer("codes", filled, persistent=False)
        self.group_hidden = nn.Linear(config.width, hidden)
        self.group = nn.Linear(hidden, self.groups)
        self.member_hidden = nn.Linear(config.width, hidden)
        self.group_shift = nn.Parameter(torch.randn(self.groups, hidden) * 0.05)
        self.member_own = nn.Parameter(torch.randn(places, hidden) * 0.05)
        self.member_shared = nn.Linear(codes.shape[1], hidden, bias=False)
        self.member_bias = nn.Parameter(torch.zeros(places))

    def member_matrix(self) -> Tensor:
        """(places, hidden): the weights of the score of each place."""
        matrix: Tensor = self.member_own + self.member_shared(self.codes)
        return matrix

    def forward(self, state: Tensor, place: Tensor) -> Tensor:
        """Costs (n,) in nats of places (n,), int64, given states (n, width)."""
        group, member = place // self.members, place % self.members
        scores = self.group(torch.tanh(self.group_hidden(state)))
        cost = F.cross_entropy(scores, group, reduction="none")
        hidden = torch.tanh(self.member_hidden(state) + self.group_shift[group])
        own = F.cross_entropy(self._member_scores(hidden, group), member, reduction="none")
        return cost + own

    def _member_scores(self, hidden: Tensor, group: Tensor) -> Tensor:
        """Scores (n, members) of the members of groups (n,), from hidden (n, hidden).

        Computed as one batch of matrix products, a group each; gathering a matrix for each row is
        several times slower.
        """
        order = torch.argsort(group)
        counts = torch.bincount(group, minlength=self.groups)
        rows = int(counts.max())
        starts = torch.cumsum(counts, 0) - counts
        ranked = group[order]
        slot = ranked * rows + torch.arange(len(group)) - starts[ranked]
        table = hidden.new_zeros(self.groups * rows, hidden.shape[1])
        table = table.index_copy(0, slot, hidden[order]).view(self.groups, rows, -1)
        matrix = self.member_matrix().view(self.groups, self.members, -1)
        bias = self.member_bias.view(self.groups, 1, self.members)
        scores = torch.baddbmm(bias, table, matrix.transpose(1, 2)).flatten(0, 1)[slot]
        return torch.empty_like(scores).index_copy(0, order, scores)


class PriorNetwork(nn.Module):
    """A gated recurrent unit over tokens and their code vectors.

    `codes` are one table (size, d) per codebook, in order of place. A token is given by
    its place, the position of its code in that order. Row 0 of the embedding stands for the start;
    the places of each codebook follow.
    """

    vectors: Tensor

    def __init__(self, config: PriorConfig, codes: list[Tensor]) -> None:
        super().__init__()
        self.config = config
        self.sizes = [len(table) for table in codes]
        start = codes[0].new_zeros(1, codes[0].shape[1])
        self.register_buffer("vectors", torch.cat([start, *codes]), persistent=False)
        self.own = nn.Embedding(len(self.vectors), config.embedding)
        nn.init.normal_(self.own.weight, std=0.3)
        inputs = config.embedding + self.vectors.shape[1]
        self.recurrent = nn.GRU(inputs, config.width, batch_first=True)
        self.heads = nn.ModuleList(PriorHead(config, table) for table in codes)
        self.dropout = nn.Dropout(config.dropout)

    def embedding(self) -> Tensor:
        """The embeddings of the start and of all tokens: (1 + sum of sizes, inputs)."""
        return torch.cat([self.own.weight, self.vectors], dim=1)

    def forward(self, places: Tensor, mask: Tensor) -> Tensor:
        """Costs (n,) in nats of places (B, T, K), int64, mean over K, at the n true entries of a
        mask (B, T)."""
        offsets = torch.tensor([1, *self.sizes[:-1]]).cumsum(0)
        rows = F.pad((places + offsets).flatten(1)[:, :-1], (1, 0))
        inputs = torch.cat([self.own(rows), self.vectors[rows]], dim=-1)
        states, _ = self.recurrent(self.dropout(inputs))
        states = self.dropout(states).unflatten(1, (places.shape[1], -1))
        costs = [
            head(states[:, :, k][mask], places[:, :, k][mask]) for k, head in enumerate(self.heads)
        ]
        return torch.stack(costs).mean(dim=0)
