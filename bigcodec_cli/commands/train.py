"""bigcodec train"""

from __future__ import annotations

from pathlib import Path

import click

from bigcodec_cli.commands.completing import complete_presets, complete_recipes
from bigcodec_cli.training.plan import Options, make_plan, parse_duration, resolved

_PATH = click.Path(path_type=Path)


@click.command()
@click.option(
    "--data",
    metavar="DIR[=SHARE]",
    multiple=True,
    help="Folder of audio, with its sub-folders; may be repeated, with a share of the crops each.",
)
@click.option(
    "--preset",
    help="Model to train: bigcodec, bigcodec-base, lite, ... [default: bigcodec]",
    shell_complete=complete_presets,
)
@click.option(
    "--out",
    "run",
    metavar="RUN",
    type=_PATH,
    help="Folder of the run; an existing run is resumed. [default: runs/PRESET-TIME]",
)
@click.option(
    "--config",
    metavar="FILE|RECIPE",
    type=_PATH,
    help="Settings in a TOML file, or a recipe by name: ll60k, mpd-mrd, rvq-same-rate, ...",
    shell_complete=complete_recipes,
)
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a setting: max_steps=1000, optimizer.learning_rate=1e-4, ...",
)
@click.option(
    "--init",
    metavar="MODEL|RUN|DIR",
    help="Start from these weights: a model by name or file, a run, a portable checkpoint.",
)
@click.option("--validation", metavar="DIR", type=_PATH, help="Folder of audio to validate on.")
@click.option(
    "--noise", metavar="DIR", type=_PATH, help="Folder of noise; see crops.noise_probability."
)
@click.option("--max-time", metavar="TIME", help="Stop after this time: 90s, 9m, 1h30m.")
@click.option(
    "--budget",
    metavar="TIME",
    help="Train for this time in all: learning rate and phases follow it, not the steps.",
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option(
    "--list",
    "listed",
    is_flag=True,
    help="List presets, recipes and settings, as --preset, --config and --set have them.",
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
    budget: str | None,
    device: str,
    listed: bool,
) -> None:
    """Train a model on a folder of speech, by the paper's recipe.

    Ctrl-C and SIGTERM save the run; the same command resumes it. --list shows what
    can be set; docs/training.md says more.
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
        budget=None if budget is None else parse_duration(budget),
    )
    if listed:
        from bigcodec_cli.training.listing import listing

        click.echo(listing(*resolved(options)), nl=False)
        return
    seconds = parse_duration(max_time) if max_time is not None else None
    plan = make_plan(options)
    from bigcodec_cli.model_store.loading import choose_device

    choose_device(device)  # before the data is searched through
    from bigcodec_cli.training.run import carry_out

    carry_out(plan, device, seconds)
