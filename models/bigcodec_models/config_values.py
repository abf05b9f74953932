"""Conversion of frozen dataclasses to plain values, as JSON and TOML files have them, and back."""

from __future__ import annotations

import dataclasses
import difflib
import types
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


def merged(base: Mapping[str, Any], changes: Any) -> dict[str, Any]:
    """`base` with the values of `changes` in place of its own, table by table.

    Raises:
        ConfigError: `changes` is not a table.
    """
    if not isinstance(changes, Mapping):
        raise ConfigError(f"expected a table of settings, not {changes!r}")
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def setting_names(cls: Any) -> list[str]:
    """Names of the fields of a dataclass, those of nested dataclasses as TABLE.FIELD."""
    names: list[str] = []
    for name, hint in get_type_hints(cls).items():
        hint = _without_none(hint)
        if dataclasses.is_dataclass(hint):
            names += [f"{name}.{nested}" for nested in setting_names(hint)]
        else:
            names.append(name)
    return names


def build_dataclass(cls: Any, data: Mapping[str, Any], table: str = "") -> Any:
    """An instance of the dataclass `cls` from plain JSON or TOML values; checks their types.

    `table` is the name that messages give to `data`, if it is nested.

    Raises:
        ConfigError: an unknown field, a wrong type, or a value that `cls` refuses.
    """
    hints = get_type_hints(cls)
    prefix = f"{table}." if table else ""
    for name in data:
        if name not in hints:
            raise ConfigError(
                f"unknown setting {prefix + name!r}; {_suggestion(name, cls, prefix)}"
            )
    values = {name: _coerce(prefix + name, value, hints[name]) for name, value in data.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        raise (ConfigError(f"{table}: {error}") if table else error) from None


def _suggestion(name: str, cls: Any, prefix: str) -> str:
    """The setting that was probably meant, in whichever table it is; or all of this table."""
    names = setting_names(cls)
    by_last_part = {known.rpartition(".")[2]: known for known in reversed(names)}
    close = difflib.get_close_matches(name, [*names, *by_last_part, *get_type_hints(cls)], n=1)
    if close:
        return f"did you mean {prefix + by_last_part.get(close[0], close[0])!r}?"
    return f"known: {', '.join(sorted(get_type_hints(cls)))}"


def _coerce(name: str, value: Any, hint: Any) -> Any:
    bare = _without_none(hint)
    if value is None and bare is not hint:
        return None
    if dataclasses.is_dataclass(bare) and isinstance(value, Mapping):
        return build_dataclass(bare, value, name)
    if get_origin(bare) is tuple and isinstance(value, list | tuple):
        item = get_args(bare)[0]
        return tuple(_coerce(name, entry, item) for entry in value)
    if bare is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(bare, type) and type(value) is bare:
        return value
    raise ConfigError(f"{name} must be {_type_name(bare)}, not {value!r}")


def _without_none(hint: Any) -> Any:
    """X of `X | None`; any other type as it is."""
    if isinstance(hint, types.UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    return hint


def _type_name(hint: Any) -> str:
    return "a table" if dataclasses.is_dataclass(hint) else getattr(hint, "__name__", str(hint))
