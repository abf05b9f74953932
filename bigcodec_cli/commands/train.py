"""bigcodec train"""

from __future__ import annotations

from pathlib import Path

import click

from bigcodec_cli.training.plan import Options, make_plan, parse_duration

_PATH = click.Path(path_type=Path)


@click.command()
@click.option(
    "--data",
    metavar="DIR[=SHARE]",
    multiple=True,
    help="Folder of audio, searched through; may be repeated, with the share of crops it gives.",
)
@click.option("--preset", help="Model to train: bigcodec (default), bigcodec-base, lite, ...")
@click.option(
    "--out",
    "run",
    metavar="RUN",
    type=_PATH,
    help="Folder of the run; one that is there goes on. Default: runs/PRESET-TIME.",
)
@click.option(
    "--config",
    metavar="FILE|RECIPE",
    type=_PATH,
    help="Settings in a TOML file, or a recipe by name: bigcodec, mpd-mrd, rvq-same-rate, ...",
)
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change a setting.")
@click.option(
    "--init",
    metavar="MODEL|RUN|DIR",
    help="Begin with these weights: a model by name or file, a run, a portable checkpoint.",
)
@click.option("--validation", metavar="DIR", type=_PATH, help="Folder to validate on.")
@click.option("--noise", metavar="DIR", type=_PATH, help="Folder of noise; see noise_probability.")
@click.option("--max-time", metavar="TIME", help="Stop after so long: 90s, 9m, 1h30m.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
def command(
    data: tuple[str, ...],
    preset: str | None,
    run: Path | None,
    config: Path | None,
    settings: tuple[str, ...],
    init: str | None,
    validation: Path | None,
    noise: Path | None,
    max_time: str | None,
    device: str,
) -> None:
    """Train a model on a folder of speech, by the paper's recipe.

    A run that is interrupted (Ctrl-C and SIGTERM save first) goes on with the same command.
    docs/training.md lists the settings.
    """
    options = Options(
        data=data,
        preset=preset,
        run=run,
        config=config,
        settings=settings,
        init=init,
        validation=validation,
        noise=noise,
    )
    seconds = parse_duration(max_time) if max_time is not None else None
    plan = make_plan(options)
    from bigcodec_cli.training.run import carry_out

    carry_out(plan, device, seconds)
