"""The plan of a training run: settings from preset, file, options or an earlier start of the run,
checked as a whole before the first step. Loads no torch."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import secrets
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.inputs import require_audio_folders
from bigcodec_cli.model_store.store import model_path
from bigcodec_models.config import (
    PRESETS,
    SAMPLE_RATE,
    ConfigError,
    ModelConfig,
    build_dataclass,
    config_from_dict,
    config_to_dict,
)
from bigcodec_models.config_values import called, merged
from bigcodec_models.training.config import TrainConfig, recipe_for, with_settings
from bigcodec_models.training.layout import find_checkpoints, is_portable

DEFAULT_PRESET = "bigcodec"
_RECIPES = Path(__file__).parent / "recipes"
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The command's options, as given."""

    data: tuple[str, ...]
    preset: str | None
    run: Path | None
    config: Path | None
    settings: tuple[str, ...]
    init: str | None
    validation: Path | None
    noise: Path | None
    budget: float | None = None
    """Seconds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that defines a run. `data` has pairs of a folder and the share of crops from it,
    or None for a share by duration; `init` names the weights to start from."""

    run: Path
    preset: str
    model: ModelConfig
    train: TrainConfig
    data: tuple[tuple[Path, float | None], ...]
    validation: Path | None
    noise: Path | None
    init: str | None

    def to_json(self) -> dict[str, Any]:
        """The plan as RUN/config.json holds it."""
        return {
            "preset": self.preset,
            "model": config_to_dict(self.model),
            "train": dataclasses.asdict(self.train),
            "data": [[str(folder), weight] for folder, weight in self.data],
            "validation": _text(self.validation),
            "noise": _text(self.noise),
            "init": self.init,
        }

    def save(self) -> None:
        """Write RUN/config.json.

        Raises:
            OSError: it cannot be written.
        """
        self.run.mkdir(parents=True, exist_ok=True)
        temporary = self.run / f".config.{secrets.token_hex(4)}.tmp"
        temporary.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.run / "config.json")


def make_plan(options: Options) -> Plan:
    """Resolve options into a plan.

    Raises:
        click.UsageError: contradictory or impossible settings.
        CliError: a file of settings or of an earlier start cannot be read, or something that the
            options name is missing.
    """
    earlier = _read_earlier(options.run)
    init = _absolute_init(options.init)
    if earlier is not None and init not in (None, earlier.get("init")):
        raise click.UsageError(f"{options.run} holds a run already; --init begins a new one")
    preset, model, train = resolved(options, earlier)
    data = _choose_data(options, earlier)
    validation = options.validation or _path(earlier, "validation")
    noise = options.noise or _path(earlier, "noise")
    # Before all files of a folder are opened.
    require_audio_folders(
        folder for folder in (*(f for f, _ in data), validation, noise) if folder is not None
    )
    if earlier is None:
        _refuse_a_start(options.run, init)
    if train.crops.noise_probability and noise is None:
        raise CliError(
            "crops.noise_probability is set, but no folder of noise is given with --noise"
        )
    return Plan(
        run=options.run or Path("runs") / f"{preset}-{time.strftime('%Y%m%d-%H%M%S')}",
        preset=preset,
        model=model,
        train=train,
        data=data,
        validation=validation,
        noise=noise,
        init=init or (earlier or {}).get("init"),
    )


def _refuse_a_start(run: Path | None, init: str | None) -> None:
    """What would keep a new run from its start."""
    if run is not None and run.exists() and not run.is_dir():
        raise CliError(f"{run}: is a file; --out names a folder")
    if init is not None:
        _refuse_weights(init)


def _refuse_weights(init: str) -> None:
    """What can be said against weights to start from without reading them."""
    folder = Path(init)
    if not folder.is_dir():
        model_path(init)
    elif not is_portable(folder) and not find_checkpoints(folder):
        raise CliError(f"--init {init}: holds no checkpoint of a training run")


def resolved(
    options: Options, earlier: Mapping[str, Any] | None = None
) -> tuple[str, ModelConfig, TrainConfig]:
    """The preset, and the settings of the model and of training, of options, or of an earlier
    start as options change them.

    Raises:
        click.UsageError: contradictory or impossible settings.
        CliError: a file of settings cannot be read.
    """
    given = _given_settings(options)
    preset = _choose_preset(options, given, earlier)
    try:
        return preset, *_resolve(preset, given, earlier)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `9m`, `1h30m`, or a plain number of seconds.

    Raises:
        click.UsageError: anything else, or nothing.
    """
    if text.isdecimal() and text.isascii():
        return float(text)
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise click.UsageError(f"{text!r} is no duration; write 90s, 9m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(3600 * hours + 60 * minutes + seconds)


def _resolve(
    preset: str, given: Mapping[str, Any], earlier: Mapping[str, Any] | None
) -> tuple[ModelConfig, TrainConfig]:
    settings = dict(given)
    changes = settings.pop("model", {})
    start = earlier["model"] if earlier else config_to_dict(PRESETS[preset])
    model = _changed_model(start, changes)
    if earlier and model != config_from_dict(earlier["model"]):
        raise ConfigError("the model of a run cannot change; begin a new one with --init RUN")
    recipe = build_dataclass(TrainConfig, earlier["train"]) if earlier else recipe_for(model)
    _refuse_model_settings(settings, model)
    train = with_settings(recipe, settings)
    if train.crops.seconds * SAMPLE_RATE < 2 * model.hop + max(train.losses.mel_windows):
        raise ConfigError("crops.seconds is too short for the hop of this model")
    return model, train


def _changed_model(start: Mapping[str, Any], changes: Any) -> ModelConfig:
    try:
        return config_from_dict(merged(start, changes))
    except ConfigError as error:
        raise ConfigError(f"model: {error}") from None


def _refuse_model_settings(settings: Mapping[str, Any], model: ModelConfig) -> None:
    """Settings of the model need their table; one of training is left to its own check."""
    for name in settings:
        full = called(type(model), name)
        if full and not called(TrainConfig, name):
            raise ConfigError(f"unknown setting {name!r}; did you mean 'model.{full[0]}'?")


def _given_settings(options: Options) -> dict[str, Any]:
    """Settings of --config, then of --set, as a nested table."""
    table: dict[str, Any] = {}
    if options.config is not None:
        file = _settings_file(options.config)
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise CliError(f"{file}: cannot be read: {error.strerror}") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CliError(f"{file}: cannot be read as TOML: {error}") from error
    for text in options.settings:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--set {text}: must be KEY=VALUE")
        nested: Any = _value(value)
        for name in reversed(key.split(".")):
            nested = {name: nested}
        table = merged(table, nested)
    if options.budget is not None:
        table = merged(table, {"budget": {"seconds": options.budget}})
    return table


def preset_names() -> list[str]:
    """Names of the presets to train; those of toys, which are for tests, are left out."""
    return [name for name in PRESETS if not name.startswith("toy")]


def recipe_names() -> list[str]:
    """Names of the recipes in the package, which --config takes."""
    return sorted(path.stem for path in _RECIPES.glob("*.toml"))


def recipe_summaries() -> list[tuple[str, str]]:
    """Names of the recipes, and what each is: the first sentence of the comment it begins with."""
    summaries = []
    for name in recipe_names():
        lines = (_RECIPES / f"{name}.toml").read_text(encoding="utf-8").splitlines()
        comment = itertools.takewhile(lambda line: line.startswith("# "), lines)
        text = " ".join(line.removeprefix("# ") for line in comment)
        summaries.append((name, text.partition(". ")[0].partition("   ")[0].rstrip(".")))
    return summaries


def _settings_file(given: Path) -> Path:
    """The file itself, where there is one; a recipe of the package, by its name alone."""
    if given.exists() or given.name != str(given) or given.suffix == ".toml":
        return given
    if given.name not in recipe_names():
        known = ", ".join(recipe_names())
        raise click.UsageError(f"no file and no recipe {given.name!r}; recipes: {known}")
    return _RECIPES / f"{given.name}.toml"


def _value(text: str) -> Any:
    """A value in TOML, or plain text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _choose_preset(
    options: Options, given: dict[str, Any], earlier: Mapping[str, Any] | None
) -> str:
    preset = options.preset or given.pop("preset", None) or (earlier or {}).get("preset")
    given.pop("preset", None)
    preset = preset or DEFAULT_PRESET
    if not isinstance(preset, str) or preset not in PRESETS:
        raise click.UsageError(f"no preset {preset!r}; there are: {', '.join(preset_names())}")
    if earlier is not None and preset != earlier["preset"]:
        raise click.UsageError(f"{options.run} holds a run of preset {earlier['preset']!r}")
    return str(preset)


def _choose_data(
    options: Options, earlier: Mapping[str, Any] | None
) -> tuple[tuple[Path, float | None], ...]:
    if options.data:
        data = tuple(_parse_data(text) for text in options.data)
    else:
        data = tuple((Path(folder), weight) for folder, weight in (earlier or {}).get("data", ()))
    if not data:
        raise click.UsageError("Missing option '--data': a folder of audio to train on")
    weights = [weight for _, weight in data if weight is not None]
    if weights and len(weights) < len(data) and sum(weights) >= 1:
        raise click.UsageError("shares given with --data DIR=SHARE must leave some to the others")
    return data


def _parse_data(text: str) -> tuple[Path, float | None]:
    folder, equals, share = text.rpartition("=")
    if not equals or Path(text).exists():
        return Path(text).absolute(), None
    try:
        weight = float(share)
    except ValueError:
        return Path(text).absolute(), None
    if not 0 < weight < float("inf"):
        raise click.UsageError(f"--data {text}: a share must be above 0")
    return Path(folder).absolute(), weight


def _read_earlier(run: Path | None) -> dict[str, Any] | None:
    """RUN/config.json of a run that has begun, or None."""
    if run is None:
        return None
    path = run / "config.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not {"preset", "model", "train", "data"} <= set(data):
            raise ValueError("a setting is missing")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise CliError(f"{path}: cannot be read: {error}") from error
    return dict(data)


def _absolute_init(init: str | None) -> str | None:
    """An absolute path, if `init` is a path; the name of a model as it is."""
    return str(Path(init).absolute()) if init is not None and Path(init).exists() else init


def _path(earlier: Mapping[str, Any] | None, key: str) -> Path | None:
    text = (earlier or {}).get(key)
    return Path(text) if text else None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
