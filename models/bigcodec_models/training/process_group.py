"""The processes that train one model together, on one machine or many (torch.distributed).

Each process takes an equal part of a step's batch, gradients are averaged over the processes, and
all else is computed in every process: the result is that of one process with the whole batch.
Gradients are averaged here and not by DistributedDataParallel, which is not made for alternating
steps of generator and discriminators.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

_BUCKET = 1 << 24  # values sent at once: bounds the memory of the copy


@dataclasses.dataclass(frozen=True)
class ProcessGroup:
    """The rank of this process among `size`; a single process by default, without communication.

    With several, `torch.distributed` must be initialized, with the same rank and size.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that saves, validates and reports."""
        return self.rank == 0

    def local_items(self, batch: int) -> range:
        """The indices of the items of the batch that this process takes.

        Raises:
            ValueError: `size` does not divide the batch.
        """
        if batch % self.size:
            raise ValueError(
                f"batch_size {batch} cannot be divided among {self.size} processes; "
                f"choose a multiple of {self.size}"
            )
        each = batch // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def all_reduce_mean(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors, of any shapes, by their means over all processes; shapes must agree."""
        if self.size == 1:
            return
        for bucket in _buckets([tensor for tensor in tensors if tensor.numel()]):
            flat = torch.cat([tensor.reshape(-1).float() for tensor in bucket])
            dist.all_reduce(flat)
            flat /= self.size
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor of any shape over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def broadcast(self, *tensors: Tensor) -> None:
        """Replace tensors, of any shapes, by those of the main process."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        return bool(self.all_reduce_sum(torch.tensor(int(flag), device=device)))


def _buckets(tensors: list[Tensor]) -> Iterable[list[Tensor]]:
    bucket: list[Tensor] = []
    for tensor in tensors:
        bucket.append(tensor)
        if sum(part.numel() for part in bucket) >= _BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket


SINGLE_PROCESS = ProcessGroup()
