"""The processes that train one model together, on one machine or many (torch.distributed).

A step's batch is shared out, gradients are averaged over the processes, and everything else is
computed by each of them alike: the result is that of one process with the whole batch. Gradients
are averaged here rather than by DistributedDataParallel, whose bookkeeping is in the way where
discriminators are judged by, and trained, in turn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

_BUCKET = 1 << 24  # values sent at once: bounds the memory of the copy


@dataclasses.dataclass(frozen=True)
class Team:
    """This process's number among `size`; alone by default, when nothing is sent anywhere.

    With several, `torch.distributed` must be initialised, with the same numbers.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that saves, validates and reports."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """The items of a batch that this process takes.

        Raises:
            ValueError: the batch cannot be shared out evenly.
        """
        if batch % self.size:
            raise ValueError(
                f"batch_size {batch} cannot be shared out among {self.size} processes; "
                f"choose a multiple of {self.size}"
            )
        each = batch // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over all processes; all must bring the same shapes."""
        if self.size == 1:
            return
        for bucket in _buckets([tensor for tensor in tensors if tensor.numel()]):
            flat = torch.cat([tensor.reshape(-1).float() for tensor in bucket])
            dist.all_reduce(flat)
            flat /= self.size
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def add_up(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def follow(self, *tensors: Tensor) -> None:
        """Replace tensors by those of the process that leads."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        return bool(self.add_up(torch.tensor(int(flag), device=device)))


def _buckets(tensors: list[Tensor]) -> Iterable[list[Tensor]]:
    bucket: list[Tensor] = []
    for tensor in tensors:
        bucket.append(tensor)
        if sum(part.numel() for part in bucket) >= _BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket


ALONE = Team()
