"""Conversion of frozen dataclasses to plain values, as JSON and TOML files have them, and back."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

from bigcodec_models.errors import ConfigError

_MOST_GUESSES = 3


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ConfigError for a value outside [low, high]."""
    if not low <= value <= high:
        raise ConfigError(f"{name} must be between {low} and {high}, not {value}")


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise ConfigError for a value that is not one of `known`."""
    if value not in known:
        raise ConfigError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with a message unless a condition holds."""
    if not condition:
        raise ConfigError(message)


def at_least_one(config: Any, *names: str) -> None:
    """Raise ConfigError if one of these fields is below 1."""
    for name in names:
        require(getattr(config, name) >= 1, f"{name} must be at least 1")


def not_negative(config: Any, *names: str) -> None:
    """Raise ConfigError if one of these fields is negative or not finite."""
    for name in names:
        require(getattr(config, name) >= 0, f"{name} must not be negative")
        require(getattr(config, name) < math.inf, f"{name} must be finite")


def above_zero(config: Any, *names: str) -> None:
    """Raise ConfigError if one of these fields is not above 0, or not finite."""
    for name in names:
        require(getattr(config, name) > 0, f"{name} must be above 0")
        require(getattr(config, name) < math.inf, f"{name} must be finite")


def below_one(config: Any, *names: str) -> None:
    """Raise ConfigError if one of these fields is not in [0, 1)."""
    for name in names:
        require(0 <= getattr(config, name) < 1, f"{name} must be at least 0 and below 1")


def setting(default: Any, meaning: str, former: tuple[str, ...] = ()) -> Any:
    """A field that users set: what it means, and the names that it had before, newest first."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "former": former})


def later_field(default: Any, meaning: str, former: tuple[str, ...] = ()) -> Any:
    """A setting that did not exist in the first models. It is stored only if it differs from
    `default`, so that older models are stored as before."""
    metadata = {"meaning": meaning, "former": former, "later": True}
    return dataclasses.field(default=default, metadata=metadata)


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """A field of a configuration: its name, those of nested dataclasses as TABLE.FIELD, what it
    means, and the names that it had before."""

    name: str
    meaning: str = ""
    former: tuple[str, ...] = ()

    @property
    def own_name(self) -> str:
        """The name without its table."""
        return self.name.rpartition(".")[2]


def settings_of(cls: Any) -> list[Setting]:
    """The settings of a dataclass and of those nested in it, in their order."""
    hints = get_type_hints(cls)
    settings: list[Setting] = []
    for field in dataclasses.fields(cls):
        hint = _without_none(hints[field.name])
        if dataclasses.is_dataclass(hint):
            settings += [
                dataclasses.replace(nested, name=f"{field.name}.{nested.name}")
                for nested in settings_of(hint)
            ]
        else:
            settings.append(Setting(name=field.name, **_described(field.metadata)))
    return settings


def _described(metadata: Mapping[Any, Any]) -> dict[str, Any]:
    return {key: metadata[key] for key in ("meaning", "former") if key in metadata}


def setting_names(cls: Any) -> list[str]:
    """Names of the fields of a dataclass, those of nested dataclasses as TABLE.FIELD."""
    return [setting.name for setting in settings_of(cls)]


def called(cls: Any, name: str) -> list[str]:
    """The settings or tables that are called `name`, or once were, in whichever table they are."""
    return _by_name(cls).get(name, [])


def named_like(cls: Any, name: str) -> list[str]:
    """The settings that `called` finds without the table of `name`; else those with the name most
    like it, in its own table rather than in another."""
    table, _, own_name = name.rpartition(".")
    if same := called(cls, own_name):
        return same
    names = _by_name(cls)
    in_table = {
        known: [full for full in settings if full.startswith(f"{table}.")]
        for known, settings in names.items()
    }
    for candidates in ({known: s for known, s in in_table.items() if s}, names):
        if close := difflib.get_close_matches(own_name, candidates, n=1):
            return candidates[close[0]]
    return []


def _by_name(cls: Any) -> dict[str, list[str]]:
    """Full names of settings, those in the fewest tables first, by each name they have or had."""
    fields = {field.name for field in dataclasses.fields(cls)}
    names = {name: [name] for name in fields}
    for each in sorted(settings_of(cls), key=lambda setting: setting.name.count(".")):
        for known in {each.name, each.own_name, *each.former} - fields:
            names.setdefault(known, []).append(each.name)
    return names


def build_dataclass(cls: Any, data: Mapping[str, Any]) -> Any:
    """An instance of the dataclass `cls` from plain JSON or TOML values; checks their types.

    Raises:
        ConfigError: an unknown field, a wrong type, or a value that `cls` refuses.
    """
    return _build(cls, data, "", cls)


def _build(cls: Any, data: Mapping[str, Any], table: str, root: Any) -> Any:
    """As `build_dataclass`, for the dataclass that `table` names in `root`."""
    hints = get_type_hints(cls)
    prefix = f"{table}." if table else ""
    for name in data:
        if name not in hints:
            known = f"known: {', '.join(sorted(hints))}"
            raise ConfigError(
                f"unknown setting {prefix + name!r}; {_guess(root, prefix + name) or known}"
            )
    values = {name: _coerce(prefix + name, data[name], hints[name], root) for name in data}
    try:
        return cls(**values)
    except ConfigError as error:
        raise (ConfigError(f"{table}: {error}") if table else error) from None


def _guess(root: Any, name: str) -> str:
    """A question for the setting that was probably meant; empty if nothing is like it."""
    names = " or ".join(map(repr, named_like(root, name)[:_MOST_GUESSES]))
    return f"did you mean {names}?" if names else ""


def _coerce(name: str, value: Any, hint: Any, root: Any) -> Any:
    bare = _without_none(hint)
    if value is None and bare is not hint:
        return None
    if dataclasses.is_dataclass(bare) and isinstance(value, Mapping):
        return _build(bare, value, name, root)
    if get_origin(bare) is tuple and isinstance(value, list | tuple):
        item = get_args(bare)[0]
        return tuple(_coerce(name, entry, item, root) for entry in value)
    if bare is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(bare, type) and type(value) is bare:
        return value
    raise ConfigError(f"{name} must be {_type_name(bare)}, not {value!r}{_moved(root, name)}")


def _moved(root: Any, name: str) -> str:
    """A question for the setting that had this name before the name became that of a table."""
    names = [each.name for each in settings_of(root) if name in each.former]
    return f"; did you mean {names[0]!r}?" if names else ""


def _without_none(hint: Any) -> Any:
    """X of `X | None`; any other type as it is."""
    if isinstance(hint, types.UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    return hint


def _type_name(hint: Any) -> str:
    return "a table" if dataclasses.is_dataclass(hint) else getattr(hint, "__name__", str(hint))
