"""The folder of a run: made for a start, and removed again where the start fails."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from bigcodec_models.training.process_group import ProcessGroup


@contextlib.contextmanager
def run_folder(run: Path, process_group: ProcessGroup) -> Iterator[Callable[[], None]]:
    """Make the folder of a run. If the block fails before it calls what this gives, which says that
    the run has begun, all that it has put into a new or empty folder is removed, by the main
    process."""
    if not process_group.is_main:
        yield lambda: None
        return
    missing = [path for path in (run, *run.parents) if not path.exists()]
    run.mkdir(parents=True, exist_ok=True)
    started = [] if not any(run.iterdir()) else [True]
    try:
        yield lambda: started.append(True)
    except BaseException:
        if not started:
            _discard(run, missing)
        raise


def _discard(run: Path, folders: list[Path]) -> None:
    """Remove the content of a folder, and the folders that were made for it, it among them."""
    for path in run.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in folders:
        with contextlib.suppress(OSError):  # somebody else has put something there
            path.rmdir()
