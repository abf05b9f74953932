"""bigcodec decompress"""

from __future__ import annotations

from pathlib import Path

import click

import bcdc
from bigcodec_cli.batch import make_folder, output_paths, run_batch
from bigcodec_cli.output import CliError, atomic_output, seconds_bar


@click.command()
@click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--output-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for the outputs, made if missing.",
)
@click.option(
    "--model", metavar="NAME|PATH", help="Where the model is, if it is not among 'models list'."
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")
def command(
    inputs: tuple[Path, ...],
    output: Path | None,
    output_dir: Path | None,
    model: str | None,
    device: str,
    force: bool,
) -> None:
    """Restore 16-bit WAV files from .bcdc files, with their original rate, channels and length.

    Without -o or --output-dir, speech.bcdc becomes speech.wav beside it.
    """
    targets = output_paths(inputs, output, output_dir, ".wav")
    make_folder(output_dir)
    from bigcodec_cli.audio import write_wav
    from bigcodec_cli.containers import open_container
    from bigcodec_cli.loading import CodecCache
    from bigcodec_cli.pipeline import decompress

    codecs = CodecCache(model, device)

    def work(source: Path, target: Path) -> None:
        container = open_container(source)
        codec = codecs.codec_for(source, container)
        try:
            with (
                atomic_output(target, overwrite=force) as temporary,
                seconds_bar(container.seconds, source.name) as done,
            ):
                write_wav(temporary, decompress(container, codec, done))
        except bcdc.BcdcError as error:
            raise CliError(f"{source}: {error}") from error
        except OSError as error:
            raise CliError(f"{source}: cannot write {target}: {error.strerror or error}") from error

    run_batch(inputs, targets, work, "decompress")
