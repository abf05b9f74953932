"""Runs of several processes, started by torchrun."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist

from bigcodec_cli.model_store.loading import choose_device
from bigcodec_models.training.process_group import SINGLE_PROCESS, ProcessGroup


@contextlib.contextmanager
def joined(device: str) -> Iterator[tuple[ProcessGroup, str]]:
    """The process group of torchrun's environment variables, or a single process; and its device.

    Each process of a machine takes a GPU of its own if `device` is "auto" or "cuda". None leaves
    before all others are done: they may still be receiving what it has sent.

    Raises:
        CliError: the device is not available.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield SINGLE_PROCESS, choose_device(device)
        return
    if device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(choose_device(device))
    chosen = choose_device(device)
    dist.init_process_group("nccl" if chosen.startswith("cuda") else "gloo")
    try:
        yield ProcessGroup(rank=dist.get_rank(), size=size), chosen
        with contextlib.suppress(RuntimeError):  # another has failed, and says why
            dist.barrier()
    finally:
        dist.destroy_process_group()


def leave(code: int) -> NoReturn:
    """End a process that was one of several, everything being saved.

    Gloo's threads can abort a process whose interpreter ends as usual (torch 2.13): torchrun would
    call the run failed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def agreed(process_group: ProcessGroup, path: Path) -> Path:
    """The path of the main process: names with the time may differ between processes."""
    names: list[str | None] = [str(path)]
    if process_group.size > 1:
        dist.broadcast_object_list(names, 0)
    return Path(names[0] or path)


@contextlib.contextmanager
def main_process_first(process_group: ProcessGroup) -> Iterator[None]:
    """The main process runs the block before the others, which can then read its files."""
    if process_group.size > 1 and not process_group.is_main:
        dist.barrier()
    yield
    if process_group.size > 1 and process_group.is_main:
        dist.barrier()
