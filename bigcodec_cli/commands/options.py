"""Command-line options that several commands share."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bigcodec_cli.audio.pcm import PCM_NAMES, RawFormat
from bigcodec_cli.files.batch import BatchOptions, OutputOptions
from bigcodec_cli.files.inputs import InputOptions
from bigcodec_models.audio.suffixes import AUDIO_SUFFIXES
from bigcodec_models.config import F0_MODES

Command = Callable[..., Any]
# Whether a file can be read is found out when its turn comes, so that the others are done.
_ANY_PATH = click.Path(readable=False)
_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?|mps")


class _Seconds(click.ParamType[float]):
    """Seconds as a number or as [hours:]minutes:seconds."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        if not re.fullmatch(r"([0-9]+:){0,2}[0-9]*\.?[0-9]+|([0-9]+:){0,2}[0-9]+\.", str(value)):
            self.fail(f"'{value}' is no time; give seconds, or [hours:]minutes:seconds", param, ctx)
        total = 0.0
        for part in str(value).split(":"):
            total = 60 * total + float(part)
        return total


SECONDS = _Seconds()


def _check_device(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not _DEVICE.fullmatch(value):
        raise click.BadParameter(f"'{value}' is not one of auto, cpu, cuda, cuda:N, mps")
    return value


device_option = click.option(
    "--device",
    metavar="auto|cpu|cuda|cuda:N|mps",
    default="auto",
    show_default=True,
    callback=_check_device,
    help="Where the model runs; auto takes a GPU if there is one.",
)

engine_option = click.option(
    "--engine",
    type=click.Choice(["auto", "onnx", "torch"]),
    default="auto",
    show_default=True,
    help="What runs the model; auto takes ONNX Runtime on a CPU, where there are graphs of it.",
)

batch_size_option = click.option(
    "--batch-size",
    metavar="N",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="How many recordings go through the model side by side. Results are the same.",
)

allow_long_option = click.option(
    "--allow-long",
    is_flag=True,
    help="Decode files that become far more than speech of their size would: over 131072 tokens "
    "and 8 a byte, or over an hour and less than 20 bytes a second and channel.",
)

f0_option = click.option(
    "--f0",
    type=click.Choice(F0_MODES),
    help="Code F0 as one more token a frame, or leave it out, for the decoder to predict. "
    "'models show' lists what a model knows; its first is the default.",
)

_SOURCES = [
    click.argument("inputs", metavar="IN...", nargs=-1, type=_ANY_PATH),
    click.option(
        "-r", "--recursive", is_flag=True, help="Walk folders, for files of the right suffix."
    ),
    click.option("--filelist", metavar="FILE|-", help="File with names of inputs, one a line."),
    click.option("-0", "--null", is_flag=True, help="Names in --filelist end with a NUL byte."),
]

_OUTPUTS = [
    click.option(
        "-o", "--output", metavar="OUT", type=_ANY_PATH, help="Output file; '-' is stdout."
    ),
    click.option(
        "--output-dir",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Folder for the outputs, made if missing. With -r it gets the folders of the one that "
        "is walked, or of each under its name if there are several.",
    ),
]

_BATCH = [
    click.option("-f", "--force", is_flag=True, help="Overwrite existing files."),
    click.option("--skip-existing", is_flag=True, help="Leave out inputs whose output exists."),
    click.option("--rm", "remove", is_flag=True, help="Remove inputs once outputs are verified."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    click.option("-v", "--verbose", is_flag=True, help="A line for every file."),
    click.option("--no-progress", is_flag=True, help="No progress bar."),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="One JSON object a file, in order, on stdout; after several, one of their totals.",
    ),
]


_RAW = [
    click.option("--raw", is_flag=True, help="Inputs are PCM without a header, little-endian."),
    click.option("--rate", type=click.IntRange(1, 768000), help="Sample rate of --raw."),
    click.option("--channels", type=click.IntRange(1, 255), help="Channels of --raw. Default: 1."),
    click.option(
        "--pcm", type=click.Choice(list(PCM_NAMES)), help="Bits of a sample of --raw. Default: 16."
    ),
]


def source_options(command: Command) -> Command:
    """Inputs without outputs; the command gets one `where: InputOptions`."""

    @functools.wraps(command)
    def wrapped(**values: Any) -> Any:
        names = ("inputs", "filelist", "null", "recursive")
        return command(where=InputOptions(**{n: values.pop(n) for n in names}), **values)

    return _apply(_SOURCES, wrapped)


def input_options(command: Command) -> Command:
    """Inputs and where outputs go; the command gets one `where: InputOptions`."""

    @functools.wraps(command)
    def wrapped(**values: Any) -> Any:
        names = ("inputs", "filelist", "null", "recursive", "output", "output_dir")
        where = InputOptions(**{name: values.pop(name) for name in names})
        return command(where=where, **values)

    return _apply([*_SOURCES, *_OUTPUTS], wrapped)


def batch_options(command: Command) -> Command:
    """How files are treated; the command gets one `how: BatchOptions`."""

    @functools.wraps(command)
    def wrapped(**values: Any) -> Any:
        outputs = OutputOptions(force=values.pop("force"), remove=values.pop("remove"))
        names = ("skip_existing", "quiet", "verbose", "as_json")
        shown = {name: values.pop(name) for name in names}
        how = BatchOptions(outputs=outputs, progress=not values.pop("no_progress"), **shown)
        if outputs.force and how.skip_existing:
            raise click.UsageError("-f and --skip-existing exclude each other")
        return command(how=how, **values)

    return _apply(_BATCH, wrapped)


def raw_options(command: Command) -> Command:
    """Input without a header; the command gets one `raw: RawFormat | None`."""

    @functools.wraps(command)
    def wrapped(**values: Any) -> Any:
        raw, rate, channels, pcm = (values.pop(n) for n in ("raw", "rate", "channels", "pcm"))
        if raw and rate is None:
            raise click.UsageError("--raw says nothing of itself: give its --rate")
        if not raw and (rate, channels, pcm) != (None, None, None):
            raise click.UsageError("--rate, --channels and --pcm describe --raw input only")
        encoding = PCM_NAMES[pcm or "16"]
        form = RawFormat(rate=rate or 0, channels=channels or 1, encoding=encoding)
        return command(raw=form if raw else None, **values)

    return _apply(_RAW, wrapped)


def kind_of_output(
    output: str | None, chosen: str | None, kinds: Mapping[str, str], default: str
) -> str:
    """The kind of file to write: as chosen, or else as the suffix of `output` says, of those in
    `kinds`; `default` where there is none.

    Raises:
        click.UsageError: the suffix stands for something else.
    """
    suffix = "" if output in (None, "-") else Path(str(output)).suffix.lower()
    if chosen is None and suffix and suffix not in kinds:
        raise click.UsageError(
            f"-o {output}: cannot write {suffix}; what can be written: {' '.join(kinds)} "
            "(--format says which, whatever the name)"
        )
    meant = kinds.get(suffix, chosen or default)
    if chosen not in (None, meant):
        raise click.UsageError(f"-o {output} and --format {chosen} contradict each other")
    return meant


def check_container_name(output: str | None) -> None:
    """Refuse to write a container under the name of something else.

    Raises:
        click.UsageError: the suffix of `output` is one of audio or tokens.
    """
    suffix = Path(output or "").suffix.lower()
    if suffix in AUDIO_SUFFIXES or suffix in (".npy", ".jsonl", ".raw", ".pcm"):
        name = Path(str(output)).with_suffix(".bcdc").name
        raise click.UsageError(f"-o {output}: what is written is .bcdc, not {suffix}; -o {name}")


def _apply(decorators: Sequence[Callable[[Command], Command]], command: Command) -> Command:
    for decorate in reversed(decorators):
        command = decorate(command)
    return command
