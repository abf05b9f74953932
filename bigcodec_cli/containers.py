"""Opening container files with errors that a user understands. Loads no torch."""

from __future__ import annotations

from pathlib import Path

import bcdc
from bigcodec_cli.output import CliError


def open_container(path: Path) -> bcdc.Container:
    """Open and verify a container file.

    Raises:
        CliError: missing, unreadable, or not a good container.
    """
    if path.is_dir():
        raise CliError(f"{path}: is a folder, not a .bcdc file")
    try:
        return bcdc.read(path.read_bytes())
    except FileNotFoundError:
        raise CliError(f"{path}: no such file") from None
    except OSError as error:
        raise CliError(f"{path}: cannot be read: {error.strerror}") from error
    except bcdc.BcdcError as error:
        raise CliError(f"{path}: {error}") from error
