"""bigcodec train-prior"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bigcodec_cli.commands.completing import complete_models
from bigcodec_cli.commands.options import f0_option
from bigcodec_cli.console.messages import CliError, note
from bigcodec_cli.files.atomic import atomic_output, refuse_existing
from bigcodec_cli.files.inputs import require_audio_folders
from bigcodec_cli.model_store.loading import choose_device
from bigcodec_cli.model_store.store import default_model, introduce_model, model_path, read_stored

if TYPE_CHECKING:
    from bigcodec_cli.training.prior import Sequences
    from bigcodec_models.prior import FitReport

_PATH = click.Path(path_type=Path)


@click.command()
@click.option(
    "--model",
    metavar="NAME|PATH",
    help="Codec model. Default: see 'models list'.",
    shell_complete=complete_models,
)
@click.option(
    "--data",
    metavar="DIR",
    multiple=True,
    required=True,
    type=_PATH,
    help="Folder of speech, searched through; may be repeated.",
)
@f0_option
@click.option("-o", "--output", metavar="FILE", type=_PATH, help="Write here; do not install.")
@click.option(
    "--versions",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Versions of each clip: as it is, and others of another speed and level.",
)
@click.option("--epochs", type=click.IntRange(1, 1000), default=9, show_default=True)
@click.option("--width", type=click.IntRange(1, 1024), default=256, show_default=True)
@click.option("--seed", type=click.IntRange(0, 1 << 31), default=0, show_default=True)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing file.")
def command(
    model: str | None,
    data: tuple[Path, ...],
    f0: str | None,
    output: Path | None,
    versions: int,
    epochs: int,
    width: int,
    seed: int,
    device: str,
    force: bool,
) -> None:
    """Learn what a model's tokens are like, so that its files get smaller.

    Encodes the speech, fits a prior to the tokens, and installs it if it is better than the coder
    'adaptive': from then on 'compress' uses it for this model. Whoever decompresses such a file
    needs the prior's file too; its place is printed at the end.

    Files with coded F0 and files without have a prior each: for a model that knows both, run this
    once for each --f0.
    """
    _check_output(output, force)
    require_audio_folders(data)
    name = model or default_model()
    model_path(name)
    choose_device(device)  # before torch is loaded for the rest
    from bigcodec_cli.coding.audio_encoder import AudioEncoder
    from bigcodec_cli.coding.config import CompressConfig
    from bigcodec_cli.training.prior import fitted_file, gather
    from bigcodec_models.prior import FitConfig, PriorConfig
    from bigcodec_models.prior.dataset import code_vectors

    encoder = AudioEncoder.load(
        CompressConfig(model=name, coder="raw", f0=f0, device=device, downmix=True, verify=False)
    )
    codec = encoder.codec
    if model is None:
        introduce_model(encoder.name, encoder.description)
    gathered = gather(encoder, data, versions)
    count = sum(tokens.size for tokens in gathered.fitted)
    note(f"{count} tokens of {len(gathered.fitted)} recordings; {len(gathered.held_out)} held out")
    config = FitConfig(epochs=epochs, seed=seed, network=PriorConfig(width=width))
    codes = code_vectors(read_stored(name), codec.f0)
    stored = fitted_file(codec, codes, gathered, config, _report)
    name = _check(stored, gathered.held_out, output)
    place = _store(stored, output, force)
    note(f"prior {name}, {len(stored) / 1e6:.2f} MB: {place}")


def _check_output(output: Path | None, force: bool) -> None:
    if output is None:
        return
    if not output.parent.is_dir():
        raise CliError(f"{output.parent}: no such folder; make it")
    refuse_existing(output, force)


def _check(stored: bytes, held_out: Sequences, output: Path | None) -> str:
    """The name of a prior, which is measured with recordings that it was not fitted to.

    Raises:
        CliError: it is not worth installing.
    """
    import bcdc
    from bigcodec_cli.training.prior import bits_per_token_of

    prior = bcdc.read_prior(stored)
    bits = bits_per_token_of(prior, held_out)
    note("held out, bits a token: " + ", ".join(f"{name} {b:.3f}" for name, b in bits.items()))
    _refuse_a_worse_one(bits, output)
    return prior.name.hex()


def _refuse_a_worse_one(bits: Mapping[str, float], output: Path | None) -> None:
    """A prior that saves nothing beside the coder that needs none is not installed; to a file that
    is named it is written all the same."""
    prior, adaptive = bits["prior"], bits["adaptive"]
    if prior < adaptive:
        return
    message = "nothing that was held out can be coded, so it is not known what the prior is worth"
    if adaptive:
        message = (
            "on what was held out the prior is no better than the coder adaptive, "
            f"{prior:.3f} against {adaptive:.3f} bits a token"
        )
    if output is None:
        raise CliError(
            f"{message}: not installed; take more speech, --epochs or --versions "
            "(-o FILE writes it all the same)"
        )
    note(message)


def _store(prior: bytes, output: Path | None, force: bool) -> Path:
    """Write a prior to a file, or install it; where it is then."""
    from bigcodec_cli.model_store.priors import store_prior

    if output is None:
        return store_prior(prior)
    with atomic_output(output, overwrite=force) as temporary:
        temporary.write_bytes(prior)
    return output


def _report(state: FitReport) -> None:
    done = 100 * state.tokens / state.total_tokens
    if state.held_out_bits is not None:
        note(f"epoch {state.epoch + 1}: {state.bits:.3f} bits, held out {state.held_out_bits:.3f}")
    elif sys.stderr.isatty():
        print(f"  {done:.1f} %  {state.bits:.3f} bits", end="\r", file=sys.stderr, flush=True)
