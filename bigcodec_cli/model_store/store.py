"""Which models there are and which is the default. Loads no torch.

Imported models live in BIGCODEC_HOME (a folder of the user's, chosen by platformdirs unless the
environment variable names one) as NAME.safetensors, with an index of fingerprints beside them.
Whatever changes the folder does so inside `locked`; reading needs no lock, since files are replaced
whole.
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
_OURS = re.compile(r"lite(-\d+)?", re.IGNORECASE)
"""Names of models that ship, or will: a file system may not tell them by their case."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model at hand: where its weights are, and what they are."""

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
    """Keeps other processes from changing the store meanwhile; waits for them if it must.

    Not to be entered twice by one process. The lock ends with the process, however it ends.

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
    except (OSError, NotImplementedError) as error:  # the latter where there are no locks at all
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
    found = [
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
    return found + [_imported(name, row) for name, row in sorted(_index().items())]


def find_model(name: str) -> ModelEntry | None:
    """The model of a name or alias, or None."""
    builtin = find_builtin(name)
    wanted = builtin.name if builtin is not None else name
    return next((model for model in all_models() if model.name == wanted), None)


def find_by_fingerprint(prefix: bytes) -> ModelEntry | None:
    """The model whose fingerprint starts with `prefix`, or None."""
    return next((m for m in all_models() if m.fingerprint.startswith(prefix)), None)


def model_path(name_or_path: str) -> Path:
    """The weights file that `--model` means.

    Raises:
        CliError: no model of this name and no file of this path.
    """
    found = find_model(name_or_path)
    if found is not None:
        return found.path
    path = Path(name_or_path)
    if path.is_file():
        return path
    raise CliError(
        f"{name_or_path}: no such model or file; 'bigcodec models list' shows the models at hand"
    )


def default_model() -> str:
    """The model that is used when none is named: BIGCODEC_MODEL, the one set, or lite."""
    return os.environ.get("BIGCODEC_MODEL") or _settings().get("default") or FALLBACK_MODEL


def set_default(name: str) -> None:
    """Remember a default model.

    Raises:
        CliError: there is no such model, or the setting cannot be written.
    """
    if find_model(name) is None:
        raise CliError(f"{name}: no such model; 'bigcodec models list' shows the models at hand")
    with locked():
        _write_json(home() / "settings.json", {**_settings(), "default": name})


def check_name(name: str) -> None:
    """Refuse names that could be mistaken for a path, and those of models that ship or will.

    Raises:
        CliError: naming the reason.
    """
    if not _NAME.fullmatch(name):
        raise CliError(f"{name}: a model name has letters, digits, '.', '_' and '-' only")
    if find_builtin(name.lower()) is not None or name.lower() in ALIASES:
        raise CliError(f"{name}: is the name of a built-in model; choose another with --name")
    if _OURS.fullmatch(name):
        raise CliError(
            f"{name}: names like lite-5 are kept for models that come with the program; "
            "choose another with --name"
        )


def register(name: str, fingerprint: bytes, license: str, summary: str) -> None:
    """Add a weights file that already lies in its place to the index; inside `locked`.

    Raises:
        CliError: the index cannot be written.
    """
    row = {"fingerprint": fingerprint.hex(), "license": license, "summary": summary}
    _write_json(home() / "models.json", {**_index(), name: row})


def unregister(name: str) -> None:
    """Remove an imported model: from the index, its weights, and as the default.

    Raises:
        CliError: the index cannot be written, or the weights not be removed.
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
    """Where the weights of an imported model lie."""
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
