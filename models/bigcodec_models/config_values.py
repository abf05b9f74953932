"""Conversion of frozen dataclasses to plain values, as JSON and TOML files have them, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

from bigcodec_models.errors import ConfigError


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ConfigError for a value outside [low, high]."""
    if not low <= value <= high:
        raise ConfigError(f"{name} must be between {low} and {high}, not {value}")


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise ConfigError for a value that is not one of `known`."""
    if value not in known:
        raise ConfigError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def later_field(default: Any) -> Any:
    """A field that did not exist in the first models. It is stored only if it differs from
    `default`, so that older models are stored as before."""
    return dataclasses.field(default=default, metadata={"later": True})


def plain_values(config: Any) -> dict[str, Any]:
    """Fields of a dataclass by name, also nested ones, without later fields at their default."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not (field.metadata.get("later") and value == field.default):
            values[field.name] = plain_values(value) if dataclasses.is_dataclass(value) else value
    return values


def build_dataclass(cls: Any, data: Mapping[str, Any]) -> Any:
    """An instance of the dataclass `cls` from plain JSON or TOML values; checks their types.

    Raises:
        ConfigError: an unknown field, a wrong type, or a value that `cls` refuses.
    """
    hints = get_type_hints(cls)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise ConfigError(f"unknown setting {unknown[0]!r}; known: {', '.join(sorted(hints))}")
    values = {name: _coerce(name, value, hints[name]) for name, value in data.items()}
    return cls(**values)


def _coerce(name: str, value: Any, hint: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build_dataclass(hint, value)
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        item = get_args(hint)[0]
        return tuple(_coerce(name, entry, item) for entry in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    expected = getattr(hint, "__name__", str(hint))
    raise ConfigError(f"{name} must be {expected}, not {value!r}")
