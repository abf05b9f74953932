"""What `train` can be told: presets, recipes, and settings with their meanings and defaults."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from bigcodec_cli.training.plan import preset_names, recipe_summaries
from bigcodec_models.config import PRESETS, ModelConfig
from bigcodec_models.config_values import settings_of
from bigcodec_models.discriminators.config import SMALL
from bigcodec_models.training.config import TrainConfig

_WIDTH = 80
PRESET_SUMMARIES = {
    "bigcodec": "the published model",
    "bigcodec-base": "the smaller published model",
    "bigcodec-300m": "an ablation of the paper, wider",
    "bigcodec-small-enc": "an ablation of the paper, with a small encoder",
    "bigcodec-no-lstm": "an ablation of the paper, without LSTMs",
    "lite": "our own, made for a CPU",
}


def listing(preset: str, model: ModelConfig, train: TrainConfig) -> str:
    """Everything as text of at most 80 columns; the settings with their values in `model` and
    `train`."""
    parts = [
        "Presets (--preset NAME), and their parameters",
        _columns((name, _size_text(name), PRESET_SUMMARIES[name]) for name in preset_names()),
        "Recipes (--config NAME)",
        _columns(recipe_summaries()),
        f"Settings (--set KEY=VALUE), as preset {preset} has them here",
        _settings(train),
        f"Discriminators; KIND is {', '.join(SMALL)}",
        _entry("discriminators.preset", None, "published, small or none")
        + _entry("discriminators.KIND.size", None, "adds a kind: published or small")
        + _entry("discriminators.KIND.weight", None, "of its terms in the generator's loss"),
        "Settings of the model, for new runs",
        _settings(model, "model."),
    ]
    return "\n".join(parts).rstrip() + "\n"


def parameter_count(config: ModelConfig) -> int:
    """How many parameters a model has."""
    from bigcodec_models.checkpoints.uninitialized import build_uninitialized

    return sum(parameter.numel() for parameter in build_uninitialized(config).parameters())


def _size_text(preset: str) -> str:
    return f"{parameter_count(PRESETS[preset]) / 1e6:.0f} M"


def _columns(rows: Iterable[tuple[str, ...]]) -> str:
    """Rows below each other; the last cell goes on in lines of its own column."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)][:-1]
    lines = []
    for *first, last in cells:
        start = "  " + "".join(f"{c:<{w}}  " for c, w in zip(first, widths, strict=True))
        indent = " " * len(start)
        lines.append(textwrap.fill(last, _WIDTH, initial_indent=start, subsequent_indent=indent))
    return "\n".join(lines) + "\n"


def _settings(config: Any, table: str = "") -> str:
    lines = ""
    for name, value in _values(config):
        meaning = {each.name: each.meaning for each in settings_of(type(config))}[name]
        lines += _entry(table + name, value, meaning)
    return lines


def _values(config: Any) -> Iterator[tuple[str, Any]]:
    """Names of the settings that have a meaning of their own, and their values."""
    for each in settings_of(type(config)):
        value = config
        for part in each.name.split("."):
            value = getattr(value, part, None)
        if each.meaning:
            yield each.name, value


def _entry(name: str, value: Any, meaning: str) -> str:
    head = name if value is None else f"{name} = {_toml(value)}"
    indent = " " * 6
    text = textwrap.fill(meaning, _WIDTH, initial_indent=indent, subsequent_indent=indent)
    return f"  {head}\n{text}\n"


def _toml(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)
