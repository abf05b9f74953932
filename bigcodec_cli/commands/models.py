"""bigcodec models"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bigcodec_cli.commands.completing import complete_models, complete_published
from bigcodec_cli.console.messages import CliError, note, visible
from bigcodec_cli.console.tables import print_table
from bigcodec_cli.files.totals import size_text
from bigcodec_cli.model_store.names import check_name
from bigcodec_cli.model_store.store import (
    ModelEntry,
    all_models,
    default_model,
    find_by_fingerprint,
    find_model,
    home,
    imported_path,
    locked,
    read_facts,
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
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_models(as_json: bool) -> None:
    """List the models on this machine; a star marks the default."""
    entry = None
    with contextlib.suppress(CliError):  # the default model is not here
        entry = find_model(default_model())
    rows = [
        _listed(model, entry is not None and model.name == entry.name) for model in all_models()
    ]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    print_table(
        ["", "name", "size", "license", "fingerprint", "what it is"],
        [
            [
                "*" if row["default"] else "",
                row["name"],
                "missing" if row["bytes"] is None else size_text(row["bytes"]),
                row["license"],
                row["fingerprint"],
                row["summary"],
            ]
            for row in rows
        ],
        right=["size"],
        folding=["what it is"],
    )
    click.echo(f"\nimported models are in {visible(str(home()))}")


def _listed(model: ModelEntry, is_default: bool) -> dict[str, Any]:
    return {
        "name": model.name,
        "default": is_default,
        "bytes": _size_of(model),
        "license": model.license,
        "fingerprint": model.fingerprint[:6].hex(),
        "summary": model.summary,
        "file": str(model.path),
    }


def _size_of(model: ModelEntry) -> int | None:
    """Bytes of a model's file, None if it is not there."""
    return model.path.stat().st_size if model.path.is_file() else None


@command.command()
@click.argument("name", shell_complete=complete_models)
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
@click.argument("name", shell_complete=complete_published)
def pull(name: str) -> None:
    """Download a published model ('bigcodec') from the Hugging Face hub and import it.

    The newest revision is downloaded; 'bigcodec models show' shows which one it was.
    """
    from bigcodec_cli.model_store.hub import download_folder, fetch

    with download_folder(home()) as folder:
        download = fetch(name, Path(folder))
        store(download.path, name, {"source": download.source, "revision": download.revision})


@command.command()
@click.argument("name", required=False, shell_complete=complete_models)
def default(name: str | None) -> None:
    """Show or set the default model. The environment variable BIGCODEC_MODEL overrides it."""
    if name is None:
        click.echo(visible(default_model()))
    else:
        set_default(name)


@command.command()
@click.argument("name", shell_complete=complete_models)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Remove an imported model. Its .bcdc files can then no longer be decompressed."""
    model = _need(name)
    if model.builtin:
        raise CliError(f"{name}: comes with the program and cannot be removed")
    if not yes:
        _ask_before_removal(model)
    unregister(name)
    note(f"removed {name}, fingerprint {model.fingerprint[:6].hex()}")


def _ask_before_removal(model: ModelEntry) -> None:
    size = _size_of(model)
    detail = "" if size is None else f", {size_text(size)}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CliError(f"{model.name}: would be removed; -y does so where nobody can be asked")
    question = f"remove {model.name}{detail}? Its .bcdc files can then not be decompressed"
    if not click.confirm(visible(question), err=True):
        raise CliError(f"{model.name}: not removed")


def store(file: Path, name: str | None, origin: Mapping[str, str]) -> None:
    """Convert a model or checkpoint to a model file in the store, and register it.

    `origin` is added to its training facts; its `source` is the address of a download.

    Raises:
        CliError: no such file, or a bad or taken name.
        ModelFileError: not a usable model.
    """
    if not file.is_file():
        what = "is a folder, not a file of a model" if file.is_dir() else "no such file"
        raise CliError(f"{file}: {what}")
    if name:
        check_name(name)
    from bigcodec_models.checkpoints.stored import ModelInfo
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

    loaded = read_facts(model.name)
    return {
        "name": model.name,
        "summary": model.summary,
        "file": str(model.path),
        "fingerprint": model.fingerprint.hex(),
        "parameters": loaded.num_parameters,
        "license": model.license,
        "config": config_to_dict(loaded.config),
        "f0_modes": list(loaded.config.f0_modes),
        "training": dict(loaded.info.training),
    }
