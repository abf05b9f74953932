"""bigcodec export"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bigcodec_cli.console.messages import WITH_TORCH, CliError, note
from bigcodec_cli.files.atomic import atomic_folder, atomic_output, refuse_existing
from bigcodec_cli.model_store.store import model_path, read_stored
from bigcodec_models.training.layout import find_checkpoints

if TYPE_CHECKING:
    from bigcodec_models.training.checkpoint import Checkpoint


@click.command()
@click.argument("run", metavar="RUN|MODEL", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="OUT", required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["model", "onnx"]),
    default="model",
    show_default=True,
    help="A model file of a run, or a folder of ONNX graphs of a model of 'models list', of a "
    "model file or of a published checkpoint.",
)
@click.option(
    "--best", is_flag=True, help="The weights of the best validation in place of the newest."
)
@click.option("--name", help="Name to store in the file. [default: that of the run folder]")
@click.option("--license", default="unreleased", show_default=True, help="License of the weights.")
@click.option("--half", is_flag=True, help="Store the weights in half precision.")
@click.option(
    "--discriminators",
    is_flag=True,
    help="Write them too, as NAME.discriminators.safetensors beside OUT: 'train --init OUT' finds "
    "them.",
)
@click.option(
    "--portable",
    is_flag=True,
    help="Write a folder from which 'train --init' continues on another machine.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="Of weights in graphs: as the model has them, in half precision, or in 8-bit integers.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing file.")
def command(
    run: Path,
    output: Path,
    form: str,
    best: bool,
    name: str | None,
    license: str,
    half: bool,
    discriminators: bool,
    portable: bool,
    precision: str,
    force: bool,
) -> None:
    """Write a model file from a training run: the averaged weights of its newest checkpoint.

    With --portable, a folder of pieces of at most 15 MiB: generator and discriminators in
    bfloat16, without the state of the optimizer.

    With --format onnx, a new folder with the graphs of a model, which are compared with the model
    in torch before they get their name (docs/onnx.md). Needs the extra onnx.
    """
    if form == "onnx":
        if portable or best or half or name is not None:
            raise click.UsageError("--format onnx takes a model as it is: only --precision")
        _export_graphs(str(run), output, precision)
        return
    if precision != "float32":
        raise click.UsageError("--precision is for --format onnx; model files have --half")
    if portable and (best or half or discriminators or name is not None):
        raise click.UsageError(
            "--portable takes everything as it is: no --best, --half, --discriminators or --name"
        )
    if portable and output.exists():
        raise CliError(f"{output}: already exists; name a new folder")
    if not portable:
        _refuse_missing_folder(output)
        refuse_existing(output, force)
    newest = _newest_folder(run)
    try:
        if portable:
            _export_portable(run, output)
        else:
            source = run / "best.safetensors" if best else newest / "ema.safetensors"
            if not source.is_file():
                raise CliError(f"{run}: has had no validation yet; leave --best out")
            _export_model(source, output, name or run.name, license, half, force)
            if discriminators:
                _export_discriminators(run, output, half, force)
    except OSError as error:
        raise CliError(f"{output}: cannot be written: {error.strerror}") from error


def _refuse_missing_folder(output: Path) -> None:
    if not output.parent.is_dir():
        raise CliError(f"{output.parent}: no such folder; make it")


def _newest_folder(run: Path) -> Path:
    """The newest checkpoint of a run; the folder may be damaged."""
    if not run.is_dir():
        raise CliError(f"{run}: no such folder")
    folders = find_checkpoints(run)
    if not folders:
        raise CliError(f"{run}: holds no checkpoint of a training run")
    return folders[-1]


def _export_model(
    source: Path, output: Path, name: str, license: str, half: bool, force: bool
) -> None:
    import torch

    from bigcodec_models.checkpoints.fingerprint import fingerprint
    from bigcodec_models.checkpoints.model_file import ModelInfo, load_model, save_model
    from bigcodec_models.errors import ModelFileError

    try:
        model = load_model(source)
    except ModelFileError as error:
        raise CliError(str(error)) from error
    dtype = torch.float16 if half else torch.float32
    tensors = {key: tensor.to(dtype) for key, tensor in model.tensors.items()}
    info = ModelInfo(name=name, license=license, training=model.info.training)
    with atomic_output(output, overwrite=force) as temporary:
        save_model(temporary, tensors, model.config, info)
    note(f"{output}: {output.stat().st_size} bytes, fingerprint {fingerprint(tensors).hex()}")


def _export_discriminators(run: Path, output: Path, half: bool, force: bool) -> None:
    import torch

    from bigcodec_models.checkpoints.discriminator_file import (
        discriminator_file,
        save_discriminators,
    )

    checkpoint = _newest_checkpoint(run)
    if not checkpoint.discriminators:
        raise CliError(f"{run}: was trained without discriminators; leave --discriminators out")
    place = discriminator_file(output)
    with atomic_output(place, overwrite=force) as temporary:
        dtype = torch.float16 if half else torch.float32
        save_discriminators(temporary, checkpoint.discriminators, dtype)
    note(f"{place}: {place.stat().st_size} bytes, discriminators of step {checkpoint.step}")


def _newest_checkpoint(run: Path) -> Checkpoint:
    from bigcodec_models.errors import ModelFileError
    from bigcodec_models.training.checkpoint import load_checkpoint

    try:
        checkpoint = load_checkpoint(run)
    except ModelFileError as error:
        raise CliError(str(error)) from error
    assert checkpoint is not None
    return checkpoint


def _export_portable(run: Path, output: Path) -> None:
    from bigcodec_models.training.portable import save_portable

    checkpoint = _newest_checkpoint(run)
    files = save_portable(output, checkpoint)
    size = sum(file.stat().st_size for file in files) / (1 << 20)
    note(f"{output}: {len(files)} files, {size:.1f} MiB, step {checkpoint.step}")


def _export_graphs(name: str, output: Path, precision: str) -> None:
    if output.exists():
        raise CliError(f"{output}: already exists; name a new folder")
    _refuse_missing_folder(output)
    path = model_path(name)
    try:
        from bigcodec_models.onnx.export import export_graphs, write_folder
    except ModuleNotFoundError as error:
        if error.name in WITH_TORCH:
            raise
        raise CliError(
            f"--format onnx needs {error.name}: pip install 'bigcodec-cli[onnx]'"
        ) from error
    from bigcodec_models.codec import Codec
    from bigcodec_models.onnx.verification import compare_with_torch

    model = read_stored(name)
    graphs = export_graphs(model, path if path.suffix == ".safetensors" else None, precision)
    result = compare_with_torch(
        model.config,
        lambda f0: (Codec(model, f0=f0), Codec(graphs, f0=f0)),
        precision=precision,
    )
    try:
        with atomic_folder(output) as temporary:
            write_folder(graphs, temporary)
    except OSError as error:
        raise CliError(f"{output}: cannot be written: {error.strerror}") from error
    size = sum(file.stat().st_size for file in output.iterdir()) / (1 << 20)
    note(f"{output}: {len(graphs.graphs)} graphs, {size:.1f} MiB; {result}")
