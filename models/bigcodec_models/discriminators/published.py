"""How the published checkpoints name the tensors of their discriminators."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from bigcodec_models.config import ConfigError

_TENSOR = r"(bias|weight_g|weight_v)"
_PERIOD = r"discriminator\.discriminators\.(\d+)"
_SPECTRAL = r"spec_discriminator\.model\.disc_(\d+)\.model\.layer_"
_PUBLISHED_NAMES = (
    (re.compile(rf"{_PERIOD}\.convs\.(\d+)\.0\.{_TENSOR}"), r"mpd.parts.\1.layers.\2.\3"),
    (re.compile(rf"{_PERIOD}\.output_conv\.{_TENSOR}"), r"mpd.parts.\1.score.\2"),
    (re.compile(rf"{_SPECTRAL}(\d+)\.0\.{_TENSOR}"), r"spectral.parts.\1.layers.\2.\3"),
    (re.compile(rf"{_SPECTRAL}\d+\.{_TENSOR}"), r"spectral.parts.\1.score.\2"),
)


def parameter_name(published: str) -> str | None:
    """The parameter of `build_discriminators` that the published code calls `published`, if any."""
    for pattern, target in _PUBLISHED_NAMES:
        if match := pattern.fullmatch(published):
            return match.expand(target)
    return None


def adapt_discriminators(upstream: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The discriminator tensors of a published state dict by parameter name; others are left out.

    Names may start with `model.`, as Lightning writes them. Without any discriminator, as in the
    release file, the result is empty; with published sizes it loads into
    `build_discriminators(PRESETS["published"])`.

    Raises:
        ConfigError: a discriminator has a tensor of no known name, or two in one place.
    """
    adapted: dict[str, Tensor] = {}
    for name, tensor in upstream.items():
        bare = name.removeprefix("model.")
        if not bare.startswith(("discriminator.", "spec_discriminator.")):
            continue
        target = parameter_name(bare)
        if target is None or target in adapted:
            raise ConfigError(f"tensor {name} has no place in the known discriminators")
        adapted[target] = tensor
    return adapted
