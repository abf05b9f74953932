"""bigcodec models"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bigcodec_cli.console.messages import CliError, note, visible
from bigcodec_cli.model_store.store import (
    ModelEntry,
    all_models,
    check_name,
    default_model,
    find_by_fingerprint,
    find_model,
    home,
    imported_path,
    locked,
    read_stored,
    register,
    set_default,
    unregister,
)
from bigcodec_models.errors import ModelFileError

if TYPE_CHECKING:
    from bigcodec_models.checkpoints.model_file import LoadedModel


@click.group()
def command() -> None:
    """List, show, fetch, import, choose and remove models."""


@command.command("list")
def list_models() -> None:
    """List the models on this machine; a star marks the default."""
    import shutil
    import sys

    from rich.console import Console
    from rich.table import Table

    entry = None
    with contextlib.suppress(CliError):  # the default model is not here
        entry = find_model(default_model())
    table = Table("", "name", "fingerprint", "what it is", box=None, pad_edge=False)
    for model in all_models():
        star = "*" if entry is not None and model.name == entry.name else ""
        table.add_row(star, model.name, model.fingerprint[:6].hex(), visible(model.summary))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 200
    Console(width=width, markup=False, highlight=False).print(table)


@command.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(name: str, as_json: bool) -> None:
    """Show a model's configuration, license and training facts."""
    facts = _facts(_need(name))
    if as_json:
        click.echo(json.dumps(facts))
        return
    for key, value in facts.items():
        shown = json.dumps(value) if isinstance(value, dict | list) else value
        click.echo(visible(f"{key:<12} {shown}"))


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--name", help="Name for the model. Default: the name in the file, or that of the file."
)
def import_model(file: Path, name: str | None) -> None:
    """Import a model file or a published checkpoint, for use by name."""
    store(file, name, {})


@command.command()
@click.argument("name")
def pull(name: str) -> None:
    """Download a published model ('bigcodec') from the Hugging Face hub and import it.

    The newest revision is downloaded; 'bigcodec models show' shows which one it was.
    """
    from bigcodec_cli.model_store.hub import download_folder, fetch

    with download_folder(home()) as folder:
        download = fetch(name, Path(folder))
        store(download.path, name, {"source": download.source, "revision": download.revision})


@command.command()
@click.argument("name", required=False)
def default(name: str | None) -> None:
    """Show or set the default model. The environment variable BIGCODEC_MODEL overrides it."""
    if name is None:
        click.echo(visible(default_model()))
    else:
        set_default(name)


@command.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove an imported model. Its .bcdc files can then no longer be decompressed."""
    model = _need(name)
    if model.builtin:
        raise CliError(f"{name}: comes with the program and cannot be removed")
    unregister(name)
    note(f"removed {name}, fingerprint {model.fingerprint[:6].hex()}")


def store(file: Path, name: str | None, origin: Mapping[str, str]) -> None:
    """Convert a model or checkpoint to a model file in the store, and register it.

    `origin` is added to its training facts; its `source` is the address of a download.

    Raises:
        CliError: no such file, or a bad or taken name.
        ModelFileError: not a usable model.
    """
    if not file.is_file():
        raise CliError(f"{file}: no such file")
    from bigcodec_models.checkpoints.model_file import ModelInfo
    from bigcodec_models.codec import read_model

    model = read_model(file)
    chosen = name or model.info.name or file.stem
    check_name(chosen)
    training = {**model.info.training, **origin}
    info = ModelInfo(name=chosen, license=model.info.license, training=training)
    stored = dataclasses.replace(model, info=info)
    size = sum(tensor.numel() for tensor in model.tensors.values()) / 1e6
    summary = f"{size:.1f} M parameters, from {origin.get('source', file.name)}"
    with locked():
        _refuse_taken(chosen, model)
        _save(stored)
        register(chosen, stored, summary)
    note(f"imported as {chosen}, fingerprint {model.fingerprint[:6].hex()}")


def _save(model: LoadedModel) -> None:
    from bigcodec_models.checkpoints.model_file import save_model

    target = imported_path(model.info.name)
    try:
        save_model(target, model.tensors, model.config, model.info)
    except OSError as error:
        raise CliError(f"{target}: cannot be written: {error.strerror}") from error


def _refuse_taken(name: str, model: LoadedModel) -> None:
    entry = find_model(name)
    if entry is not None and entry.fingerprint != model.fingerprint:
        raise CliError(f"{name}: another model has this name; choose one with --name")
    same = find_by_fingerprint(model.fingerprint)
    if same is None:
        return
    with contextlib.suppress(ModelFileError):  # it is damaged, and about to be replaced
        if read_stored(same.name).config != model.config:
            raise CliError(f"{name}: has the weights of {same.name} with another configuration")


def _need(name: str) -> ModelEntry:
    entry = find_model(name)
    if entry is None:
        raise CliError(f"{name}: no such model; 'bigcodec models list' shows the models")
    return entry


def _facts(model: ModelEntry) -> dict[str, Any]:
    from bigcodec_models.config import config_to_dict

    loaded = read_stored(model.name)
    return {
        "name": model.name,
        "summary": model.summary,
        "file": str(model.path),
        "fingerprint": model.fingerprint.hex(),
        "parameters": sum(tensor.numel() for tensor in loaded.tensors.values()),
        "license": model.license,
        "config": config_to_dict(loaded.config),
        "f0_modes": list(loaded.config.f0_modes),
        "training": dict(loaded.info.training),
    }
