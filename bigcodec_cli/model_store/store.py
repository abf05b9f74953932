"""The models on this machine, and the default one. Loads no torch.

Imported models are in BIGCODEC_HOME (a folder of the user, chosen by platformdirs unless the
environment variable names one) as NAME.safetensors, with their fingerprints and digests in
`models.json`. The folder is changed only inside `locked`. Reading needs no lock, since files are
replaced atomically. A damaged file is renamed, and what it held is all that is lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import secrets
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigcodec_cli.console.messages import CliError, note
from bigcodec_cli.console.progress import stderr_columns
from bigcodec_cli.model_store.names import check_name
from bigcodec_models.checkpoints.stored import ModelFacts, is_zip, read_stored_model
from bigcodec_models.onnx.graph_set import (
    GraphSet,
    archive_beside,
    is_folder_of_graphs,
    read_archive,
    read_folder,
)
from bigcodec_models.registry import builtin_models, find_builtin

if TYPE_CHECKING:
    from bigcodec_models.checkpoints.model_file import LoadedModel

FALLBACK_MODEL = "lite"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model on this machine; `digest` is that of `LoadedModel`, as it was shipped or imported."""

    name: str
    path: Path
    fingerprint: bytes
    digest: bytes
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
    """Built-in models, then imported ones in order of name."""
    builtin = [
        ModelEntry(
            name=model.name,
            path=model.path,
            fingerprint=model.fingerprint,
            digest=model.digest,
            license=model.license,
            summary=model.summary,
            builtin=True,
        )
        for model in builtin_models()
    ]
    imported = (_imported(name, row) for name, row in sorted(_index().items()))
    return builtin + [entry for entry in imported if entry is not None]


def find_model(name: str) -> ModelEntry | None:
    """The model of a name or alias, or None."""
    builtin = find_builtin(name)
    full_name = builtin.name if builtin is not None else name
    return next((model for model in all_models() if model.name == full_name), None)


def find_by_fingerprint(prefix: bytes) -> ModelEntry | None:
    """The model whose fingerprint starts with `prefix`, or None."""
    return next((m for m in all_models() if m.fingerprint.startswith(prefix)), None)


def model_path(name_or_path: str) -> Path:
    """The weights file for a value of `--model`, or the folder of graphs.

    Raises:
        CliError: no model of this name and no file of this path.
        ModelFileError: it is a file of something else.
    """
    entry = find_model(name_or_path)
    if entry is not None:
        return entry.path
    path = Path(name_or_path)
    if path.is_file():
        is_zip(path)  # refuses what is no model at all, before torch is loaded
        return path
    if is_folder_of_graphs(path):
        return path
    raise CliError(
        f"{name_or_path}: no such model or file; 'bigcodec models list' shows the models"
    )


def read_stored(name_or_path: str) -> LoadedModel:
    """Read the model for a value of `--model`; one of the store is compared with what was shipped
    or imported under its name.

    Raises:
        CliError: no model of this name and no file of this path.
        ModelFileError: it cannot be used, or is not what was stored.
    """
    from bigcodec_models.codec import read_model

    entry, path = find_model(name_or_path), model_path(name_or_path)
    model = read_model(path)
    if entry is not None:
        model.check_digest(path, entry.digest)
    return model


def read_facts(name_or_path: str) -> ModelFacts | GraphSet:
    """What the model for a value of `--model` is, read without torch if it is one of the store or a
    folder of graphs.

    Raises:
        CliError: no model of this name and no file of this path.
        ModelFileError: it cannot be used, or is not what was stored.
    """
    entry, path = find_model(name_or_path), model_path(name_or_path)
    if is_folder_of_graphs(path):
        return read_folder(path)
    if entry is None:
        return read_stored(name_or_path)
    model = read_stored_model(path)
    model.check_digest(path, entry.digest)
    return model


def find_graphs(name_or_path: str) -> Path | None:
    """The archive or folder of graphs for a value of `--model`, if there is one.

    Raises:
        CliError: no model of this name and no file of this path.
    """
    path = model_path(name_or_path)
    return path if is_folder_of_graphs(path) else archive_beside(path)


def read_graphs(name_or_path: str) -> GraphSet:
    """Read the graphs that `find_graphs` finds; of a model of the store, its file is compared with
    what was shipped or imported under its name. Loads no torch.

    Raises:
        CliError: no model of this name and no file of this path.
        ModelFileError: they cannot be used, or are not what was stored.
    """
    entry, path = find_model(name_or_path), model_path(name_or_path)
    graphs = find_graphs(name_or_path)
    assert graphs is not None
    if is_folder_of_graphs(graphs):
        return read_folder(graphs)
    model = read_stored_model(path)
    if entry is not None:
        model.check_digest(path, entry.digest)
    builtin = find_builtin(name_or_path)
    return read_archive(graphs, model, None if builtin is None else builtin.graphs_sha256)


def check_restorable(name_or_path: str) -> None:
    """Refuse a model that `decompress` would not find by the fingerprint in a container.

    Raises:
        CliError: it is a file that was not imported.
        ModelFileError: it cannot be used, or is not what was stored.
    """
    if find_model(name_or_path) is not None:
        return
    model = read_stored(name_or_path)
    entry = find_by_fingerprint(model.fingerprint[:6])
    if entry is None or read_stored(entry.name).config != model.config:
        raise CliError(
            f"--rm: decompress would not find the model {name_or_path} by itself; "
            "'bigcodec models import' it first, or leave --rm out"
        )


def default_model() -> str:
    """The model to use when none is named: that of BIGCODEC_MODEL, of the settings, or lite.

    Raises:
        CliError: that of the settings is not here.
    """
    name = os.environ.get("BIGCODEC_MODEL")
    if name:
        return name
    name = _settings().get("default", FALLBACK_MODEL)
    if not isinstance(name, str) or find_model(name) is None:
        raise CliError(
            f"{home() / 'settings.json'}: the default model {name} is not here; import it, "
            "or choose another: 'bigcodec models default lite'"
        )
    return name


def introduce_model(name: str, description: str, always: bool = False) -> None:
    """Say on a terminal what the default model is: once a user, or with `always` every time."""
    mark = home() / f".introduced-{name}"
    if not always and (not sys.stderr.isatty() or mark.exists()):
        return
    width = stderr_columns() - 1
    for line in textwrap.wrap(description, width, break_long_words=False, break_on_hyphens=False):
        note(line)
    with contextlib.suppress(OSError):  # it is then said once more
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def set_default(name: str) -> None:
    """Store the name of the default model in the settings.

    Raises:
        CliError: there is no such model, or the setting cannot be written.
    """
    if find_model(name) is None:
        raise CliError(f"{name}: no such model; 'bigcodec models list' shows the models")
    with locked():
        _write_json(home() / "settings.json", {**_settings(), "default": name})


def register(name: str, model: LoadedModel, summary: str) -> None:
    """Add the model that is now at `imported_path(name)` to the index; call it inside `locked`.

    Raises:
        CliError: the index cannot be written.
    """
    row = {
        "fingerprint": model.fingerprint.hex(),
        "digest": model.digest.hex(),
        "license": model.info.license,
        "summary": summary,
    }
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


def set_aside(path: Path, reason: object) -> None:
    """Rename a damaged file of the store to NAME.damaged-N, and say so."""
    numbers = itertools.count(1)
    aside = next(
        p for n in numbers if not (p := path.with_name(f"{path.name}.damaged-{n}")).exists()
    )
    try:
        path.rename(aside)
    except OSError as error:
        note_once(f"{path}: damaged ({reason}) and left out; cannot be renamed: {error.strerror}")
    else:
        note_once(f"{path}: damaged ({reason}); it is now {aside.name}, and left out")


@functools.cache
def note_once(message: str) -> None:
    """Print a line, unless this process has printed it before."""
    note(message)


def _imported(name: str, row: Any) -> ModelEntry | None:
    """The model of a row of the index; None, and a line on stderr, if the row is wrong."""
    try:
        check_name(name)
        fingerprint, digest = (bytes.fromhex(row[key]) for key in ("fingerprint", "digest"))
        if not len(fingerprint) == len(digest) == 32:
            raise ValueError("a digest has another length")
        texts = [row["license"], row["summary"]]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a text is of another type")
    except (CliError, KeyError, TypeError, ValueError) as error:
        note_once(f"{home() / 'models.json'}: the entry {name} is damaged and left out: {error}")
        return None
    return ModelEntry(
        name=name,
        path=imported_path(name),
        fingerprint=fingerprint,
        digest=digest,
        license=texts[0],
        summary=texts[1],
        builtin=False,
    )


def _index() -> dict[str, Any]:
    return _read_json(home() / "models.json")


def _settings() -> dict[str, Any]:
    return _read_json(home() / "settings.json")


def _read_json(path: Path) -> dict[str, Any]:
    """What a file of the store holds; a damaged one is set aside and counts as missing.

    Raises:
        CliError: it cannot be read, which need not be its fault.
    """
    try:
        text = path.read_bytes()
        data = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (IsADirectoryError, PermissionError):
        data = None
    except OSError as error:
        raise CliError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict):
        return data
    set_aside(path, "no JSON object that can be read")
    return {}


def _write_json(path: Path, data: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise CliError(f"{path}: cannot be written: {error.strerror}") from error
