"""bigcodec test"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import bcdc
from bigcodec_cli.commands.completing import complete_models
from bigcodec_cli.commands.options import allow_long_option, device_option, source_options
from bigcodec_cli.console.messages import CliError, error_line, visible
from bigcodec_cli.files.containers import (
    frames_unasked,
    read_bytes,
    token_stretches,
    too_many_tokens,
    too_much_audio,
)
from bigcodec_cli.files.inputs import InputOptions, sources
from bigcodec_cli.files.reporting import explain
from bigcodec_models.errors import ModelsError

Deep = Callable[[str, bcdc.Container], None]


@click.command()
@source_options
@click.option("--deep", is_flag=True, help="Decode the audio too; needs the model.")
@click.option(
    "--model",
    metavar="NAME|PATH",
    help="For --deep, if 'models list' lacks it.",
    shell_complete=complete_models,
)
@device_option
@allow_long_option
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file.")
def command(
    where: InputOptions,
    deep: bool,
    model: str | None,
    device: str,
    allow_long: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Check that .bcdc files are undamaged; '-' is stdin.

    Every checksum is verified and every token decoded, without the model. Where tokens are coded
    with a prior that is not at hand, that is said and the checksums stand alone. A small file with
    so many tokens that they would take long is not ok without --allow-long.
    """
    paths = sources(where, frozenset([".bcdc"]))
    is_any = any(path is None or path.exists() for path in paths)
    decode = _decoder(model, device) if deep and is_any else None
    failures = 0
    for path in paths:
        name = "stdin" if path is None else str(path)
        facts = _facts(name, path, decode, allow_long)
        failures += facts["status"] != "ok"
        if as_json:
            click.echo(json.dumps(facts))
        if facts["status"] != "ok":
            error_line(facts["error"])
        elif not quiet and not as_json:
            click.echo(visible(_as_text(facts)))
    if failures and len(paths) > 1:
        error_line(f"{failures} of {len(paths)} files failed")
    if failures:
        raise click.exceptions.Exit(1)


def _facts(name: str, path: Path | None, decode: Deep | None, allow_long: bool) -> dict[str, Any]:
    """What is reported of a file, ready for JSON."""
    facts: dict[str, Any] = {"file": name, "status": "failed"}
    try:
        data = read_bytes(path)
        try:
            container = bcdc.read(data)
            excess = None if allow_long else _too_long(container, decode is not None)
            note = _decode_tokens(container, excess is None)
        except bcdc.BcdcError as error:
            raise CliError(f"{name}: {error}{_recoverable(data, allow_long)}") from error
        if excess is not None:
            raise CliError(f"{name}: its checksums are right, but not all is decoded: {excess}")
        if decode is not None:
            decode(name, container)
    except (CliError, ModelsError, OSError, MemoryError) as error:
        return facts | {"error": explain(error)}
    done = {"seconds": container.seconds, "tokens_decoded": note is None, "note": note}
    return facts | {"status": "ok", "audio_decoded": decode is not None} | done


def _too_long(container: bcdc.Container, deep: bool) -> str | None:
    """Why a file is not to be decoded without --allow-long; None if it is."""
    header, size = container.header, container.size
    reason = too_many_tokens(header, container.frames, size)
    if reason is None and deep:
        reason = too_much_audio(header, container.num_samples, size)
    return f"{reason}; if that is right, use --allow-long" if reason else None


def _decode_tokens(container: bcdc.Container, whole: bool) -> str | None:
    """Decode all tokens, or as many as may be unasked; gives the reason if the prior is missing."""
    from bigcodec_cli.model_store.priors import prior_of_container

    try:
        prior = prior_of_container(container)
    except CliError as error:
        return str(error)
    if not whole:
        frames = frames_unasked(container.header, container.size)
        container.tokens(0, min(frames, container.frames), prior)
        return None
    for _ in token_stretches(container, prior):
        pass
    return None


def _recoverable(data: bytes, allow_long: bool) -> str:
    """What can still be restored from a damaged file."""
    from bcdc.recover import salvage
    from bigcodec_cli.model_store.priors import prior_of_container

    try:
        rest = salvage(data)
        if not allow_long and too_many_tokens(rest.header, rest.whole_frames, len(data)):
            return ""
        restored = rest.decode(prior_of_container(rest))
    except (bcdc.BcdcError, CliError):
        return ""
    if not restored.whole_frames:
        return "; nothing of it can be restored"
    part = restored.whole_frames / restored.frames * restored.seconds
    of = f" of {restored.seconds:.2f} s" if restored.has_trailer else " s; its end is missing"
    return f"; 'bigcodec decompress --recover' restores {part:.2f}{of}"


def _decoder(model: str | None, device: str) -> Deep:
    from bigcodec_cli.audio.channels import Discard
    from bigcodec_cli.coding.decompressor import Decompressor, decode_part
    from bigcodec_cli.coding.pace import pace_of, store_for
    from bigcodec_cli.model_store.loading import CodecCache
    from bigcodec_cli.model_store.priors import prior_of_container

    codecs = CodecCache(model, device)

    def decode(name: str, container: bcdc.Container) -> None:
        codec = codecs.codec_for(Path(name), container)
        prior, header = prior_of_container(container), container.header
        pace = pace_of(header.channels, header.sample_rate, container.seconds)
        with contextlib.ExitStack() as stack:
            store = store_for(pace, name, stack)
            decode_part(Decompressor(container, Discard(), prior=prior, store=store), codec, pace)

    return decode


def _as_text(facts: dict[str, Any]) -> str:
    kinds = {True: "checksums, tokens and audio", False: "checksums and tokens"}
    what = kinds[facts["audio_decoded"]]
    if facts["note"] is not None:
        return f"{facts['file']}: ok by its checksums; tokens were not decoded: {facts['note']}"
    return f"{facts['file']}: ok ({what}, {facts['seconds']:.2f} s)"
