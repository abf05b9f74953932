"""BigCodec models in PyTorch: the published architecture, our lite family, and their training.

Names are loaded on first use, so that `bigcodec_models.registry` and `.config` need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bigcodec_models.config import PRESETS, ConfigError

if TYPE_CHECKING:
    from bigcodec_models.checkpoints.model_file import ModelFileError
    from bigcodec_models.codec import Codec

__all__ = ["PRESETS", "Codec", "ConfigError", "ModelFileError"]

_LAZY = {
    "Codec": "bigcodec_models.codec",
    "ModelFileError": "bigcodec_models.checkpoints.model_file",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
