"""bigcodec compress"""

from __future__ import annotations

from pathlib import Path

import click

import bcdc
from bigcodec_cli.batch import make_folder, output_paths, run_batch
from bigcodec_cli.output import CliError, atomic_output, note, seconds_bar
from bigcodec_cli.store import default_model


@click.command()
@click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--output-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for the outputs, made if missing.",
)
@click.option("--model", metavar="NAME|PATH", help="Codec model. Default: see 'models list'.")
@click.option(
    "--coder",
    type=click.Choice(["auto", "raw"]),
    default="auto",
    show_default=True,
    help="How tokens become bytes; auto takes the smallest.",
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option("--downmix", is_flag=True, help="Mix all channels to one; else each is coded.")
@click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")
def command(
    inputs: tuple[Path, ...],
    output: Path | None,
    output_dir: Path | None,
    model: str | None,
    coder: str,
    device: str,
    downmix: bool,
    force: bool,
) -> None:
    """Compress audio files to .bcdc.

    Reads what soundfile reads (WAV, FLAC, Ogg, Opus, MP3, ...) at any rate and channel count.
    Without -o or --output-dir, speech.wav becomes speech.bcdc beside it.
    """
    targets = output_paths(inputs, output, output_dir, ".bcdc")
    make_folder(output_dir)
    from bigcodec_cli.loading import load_codec
    from bigcodec_cli.pipeline import CompressOptions, compress

    # auto: the smallest for the file; at present there is one coder to choose from.
    chosen = bcdc.Coder.RAW if coder == "auto" else bcdc.Coder[coder.upper()]
    options = CompressOptions(coder=chosen, downmix=downmix)
    codec, description = load_codec(model or default_model(), device)
    note(description)

    def work(source: Path, target: Path) -> None:
        from bigcodec_cli.audio import read_audio

        audio = read_audio(source)
        try:
            with (
                atomic_output(target, overwrite=force) as temporary,
                temporary.open("wb") as file,
                seconds_bar(audio.seconds, source.name) as done,
            ):
                compress(audio, codec, options, file, done)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise CliError(f"{source}: cannot write {target}: {reason}") from error
        if len(inputs) == 1:
            size = target.stat().st_size
            rate = f", {size * 8 / audio.seconds / 1000:.2f} kbit/s" if audio.seconds else ""
            note(f"{source.name}: {audio.seconds:.2f} s to {size} bytes{rate}")

    run_batch(inputs, targets, work, "compress")
