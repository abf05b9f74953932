"""The models on this machine, and the default one. Loads no torch.

Imported models are in BIGCODEC_HOME (a folder of the user, chosen by platformdirs unless the
environment variable names one) as NAME.safetensors, with their fingerprints in `models.json`.
The folder is changed only inside `locked`. Reading needs no lock, since files are replaced
atomically.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigcodec_cli.console.messages import CliError, note
from bigcodec_models.registry import ALIASES, builtin_models, find_builtin

FALLBACK_MODEL = "lite"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED = re.compile(r"lite(-\d+)?", re.IGNORECASE)
"""Names of present and future shipped models; some file systems ignore the case of names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model on this machine."""

    name: str
    path: Path
    fingerprint: bytes
    license: str
    summary: str
    builtin: bool


def home() -> Path:
    """The folder of imported models and settings; it need not exist."""
    named = os.environ.get("BIGCODEC_HOME")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_data_dir("bigcodec", appauthor=False))


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the lock for changing the store; waits for other processes.

    A process must not enter it twice. The lock is released when the process ends, in any way.

    Raises:
        CliError: the folder cannot be written.
    """
    import filelock

    path = home() / ".lock"
    lock = filelock.FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            note("waiting for another process that is changing the models")
            lock.acquire()
    except (OSError, NotImplementedError) as error:  # NotImplementedError: no locks here
        reason = getattr(error, "strerror", None) or error
        raise CliError(f"{path}: cannot be locked: {reason}") from error
    try:
        yield
    finally:
        lock.release()


def all_models() -> list[ModelEntry]:
    """Built-in models, then imported ones in order of name.

    Raises:
        CliError: the index of imported models is damaged.
    """
    builtin = [
        ModelEntry(
            name=model.name,
            path=model.path,
            fingerprint=model.fingerprint,
            license=model.license,
            summary=model.summary,
            builtin=True,
        )
        for model in builtin_models()
    ]
    return builtin + [_imported(name, row) for name, row in sorted(_index().items())]


def find_model(name: str) -> ModelEntry | None:
    """The model of a name or alias, or None."""
    builtin = find_builtin(name)
    full_name = builtin.name if builtin is not None else name
    return next((model for model in all_models() if model.name == full_name), None)


def find_by_fingerprint(prefix: bytes) -> ModelEntry | None:
    """The model whose fingerprint starts with `prefix`, or None."""
    return next((m for m in all_models() if m.fingerprint.startswith(prefix)), None)


def model_path(name_or_path: str) -> Path:
    """The weights file for a value of `--model`.

    Raises:
        CliError: no model of this name and no file of this path.
    """
    entry = find_model(name_or_path)
    if entry is not None:
        return entry.path
    path = Path(name_or_path)
    if path.is_file():
        return path
    raise CliError(
        f"{name_or_path}: no such model or file; 'bigcodec models list' shows the models"
    )


def default_model() -> str:
    """The model to use when none is named: that of BIGCODEC_MODEL, of the settings, or lite."""
    return os.environ.get("BIGCODEC_MODEL") or _settings().get("default") or FALLBACK_MODEL


def set_default(name: str) -> None:
    """Store the name of the default model in the settings.

    Raises:
        CliError: there is no such model, or the setting cannot be written.
    """
    if find_model(name) is None:
        raise CliError(f"{name}: no such model; 'bigcodec models list' shows the models")
    with locked():
        _write_json(home() / "settings.json", {**_settings(), "default": name})


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


def register(name: str, fingerprint: bytes, license: str, summary: str) -> None:
    """Add a weights file at `imported_path(name)` to the index; call it inside `locked`.

    Raises:
        CliError: the index cannot be written.
    """
    row = {"fingerprint": fingerprint.hex(), "license": license, "summary": summary}
    _write_json(home() / "models.json", {**_index(), name: row})


def unregister(name: str) -> None:
    """Remove an imported model: its entry in the index, its weights, and its name as the default.

    Raises:
        CliError: the index cannot be written, or the weights cannot be removed.
    """
    with locked():
        rows = _index()
        rows.pop(name, None)
        _write_json(home() / "models.json", rows)
        if _settings().get("default") == name:
            rest = {key: value for key, value in _settings().items() if key != "default"}
            _write_json(home() / "settings.json", rest)
        try:
            imported_path(name).unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror
            raise CliError(f"{imported_path(name)}: cannot be removed: {reason}") from error


def imported_path(name: str) -> Path:
    """The path of the weights of an imported model."""
    return home() / f"{name}.safetensors"


def _imported(name: str, row: Any) -> ModelEntry:
    try:
        return ModelEntry(
            name=name,
            path=imported_path(name),
            fingerprint=bytes.fromhex(row["fingerprint"]),
            license=str(row["license"]),
            summary=str(row["summary"]),
            builtin=False,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CliError(f"{home() / 'models.json'}: damaged; remove it and import again") from error


def _index() -> dict[str, Any]:
    return _read_json(home() / "models.json")


def _settings() -> dict[str, Any]:
    return _read_json(home() / "settings.json")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise CliError(f"{path}: cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise CliError(f"{path}: damaged; remove it")
    return data


def _write_json(path: Path, data: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise CliError(f"{path}: cannot be written: {error.strerror}") from error
