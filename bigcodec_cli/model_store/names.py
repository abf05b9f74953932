"""What a model of the user may be called."""

from __future__ import annotations

import re

from bigcodec_cli.console.messages import CliError
from bigcodec_models.registry import ALIASES, find_builtin

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED = re.compile(r"lite(-\d+)?", re.IGNORECASE)
"""Names of present and future shipped models; some file systems ignore the case of names."""


def check_name(name: str) -> None:
    """Refuse names that could be taken for a path, and names of present and future shipped models.

    Raises:
        CliError: with the reason.
    """
    if not _NAME.fullmatch(name):
        raise CliError(f"{name}: a model name has letters, digits, '.', '_' and '-' only")
    if find_builtin(name.lower()) is not None or name.lower() in ALIASES:
        raise CliError(f"{name}: is the name of a built-in model; choose another with --name")
    if _RESERVED.fullmatch(name):
        raise CliError(
            f"{name}: names like lite-5 are reserved for models that come with the program; "
            "choose another with --name"
        )
