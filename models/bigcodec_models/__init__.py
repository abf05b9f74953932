"""BigCodec models in PyTorch: the published architecture, the lite family, and their training.

`Codec` is loaded on first use, so that `bigcodec_models.registry`, `.config` and `.errors` need no
torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bigcodec_models.config import PRESETS
from bigcodec_models.errors import ConfigError, ModelFileError, ModelsError

if TYPE_CHECKING:
    from bigcodec_models.codec import Codec

__all__ = ["PRESETS", "Codec", "ConfigError", "ModelFileError", "ModelsError"]


def __getattr__(name: str) -> Any:
    if name != "Codec":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bigcodec_models.codec import Codec

    return Codec
