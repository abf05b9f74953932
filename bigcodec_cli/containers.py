"""Opening container files with errors that a user understands. Loads no torch."""

from __future__ import annotations

import stat
from pathlib import Path

import bcdc
from bigcodec_cli.output import CliError


def open_container(path: Path) -> bcdc.Container:
    """Open and verify a container file.

    Raises:
        CliError: missing, unreadable, or not a good container.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise CliError(f"{path}: is a folder, not a .bcdc file")
        if not stat.S_ISREG(mode):
            raise CliError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            start = file.read(bcdc.HEADER_BYTES)
            bcdc.check_start(start)  # before the whole of some other file is read
            return bcdc.read(start + file.read())
    except FileNotFoundError:
        raise CliError(f"{path}: no such file") from None
    except OSError as error:
        raise CliError(f"{path}: cannot be read: {error.strerror}") from error
    except bcdc.BcdcError as error:
        raise CliError(f"{path}: {error}") from error
