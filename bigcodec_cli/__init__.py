"""The `bigcodec` command; and for Python, `import bigcodec_cli as bigcodec`.

What `__all__` names is loaded on first use, so that the command starts without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigcodec_cli.api import Audio, Codec, compress, decompress, read_shard, read_tokens
    from bigcodec_cli.console.messages import CliError
    from bigcodec_cli.files.token_files import TokenRecord

__version__ = "0.1.0.dev0"
__all__ = [
    "Audio",
    "CliError",
    "Codec",
    "TokenRecord",
    "compress",
    "decompress",
    "read_shard",
    "read_tokens",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bigcodec_cli import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
