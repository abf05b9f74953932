"""bigcodec export"""

from __future__ import annotations

from pathlib import Path

import click

from bigcodec_cli.output import CliError, atomic_output, note


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="OUT", required=True, type=click.Path(path_type=Path))
@click.option("--name", help="Name to store in the file. Default: the run folder's.")
@click.option("--licence", default="unreleased", show_default=True, help="Licence of the weights.")
@click.option("--half", is_flag=True, help="Store the weights in half precision.")
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing file.")
def command(
    run: Path, output: Path, name: str | None, licence: str, half: bool, force: bool
) -> None:
    """Make a model file out of a training run: the averaged weights of its newest checkpoint."""
    import torch

    from bigcodec_models.fingerprint import fingerprint
    from bigcodec_models.model_file import ModelFileError, ModelInfo, load_model, save_model
    from bigcodec_models.training.checkpoint import find_checkpoints

    folders = find_checkpoints(run)
    if not folders:
        raise CliError(f"{run}: holds no checkpoint of a training run")
    try:
        model = load_model(folders[-1] / "ema.safetensors")
    except ModelFileError as error:
        raise CliError(str(error)) from error
    dtype = torch.float16 if half else torch.float32
    tensors = {key: tensor.to(dtype) for key, tensor in model.tensors.items()}
    info = ModelInfo(name=name or run.name, licence=licence, training=model.info.training)
    try:
        with atomic_output(output, overwrite=force) as temporary:
            save_model(temporary, tensors, model.config, info)
    except OSError as error:
        raise CliError(f"{output}: cannot be written: {error.strerror}") from error
    note(f"{output}: {output.stat().st_size} bytes, fingerprint {fingerprint(tensors).hex()}")
