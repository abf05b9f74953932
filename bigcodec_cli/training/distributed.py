"""Taking part in a run of several processes, started by torchrun."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist

from bigcodec_cli.model_store.loading import choose_device
from bigcodec_models.training.process_group import ALONE, Team


@contextlib.contextmanager
def joined(device: str) -> Iterator[tuple[Team, str]]:
    """The team that torchrun's variables name, or one of this process alone; and its device.

    Each process of a machine takes a GPU of its own, if `device` lets it.

    Raises:
        CliError: the device is not there.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE, choose_device(device)
        return
    if device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(choose_device(device))
    chosen = choose_device(device)
    dist.init_process_group("nccl" if chosen.startswith("cuda") else "gloo")
    try:
        yield Team(rank=dist.get_rank(), size=size), chosen
    finally:
        dist.destroy_process_group()


def agreed(team: Team, path: Path) -> Path:
    """The path that the leading process has: names made of the time may differ."""
    names: list[str | None] = [str(path)]
    if team.size > 1:
        dist.broadcast_object_list(names, 0)
    return Path(names[0] or path)


@contextlib.contextmanager
def leader_first(team: Team) -> Iterator[None]:
    """The leading process goes through the block before the others, which find what it wrote."""
    if team.size > 1 and not team.leads:
        dist.barrier()
    yield
    if team.size > 1 and team.leads:
        dist.barrier()
