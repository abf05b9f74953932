"""bigcodec info"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import bcdc
from bigcodec_cli.commands.options import source_options
from bigcodec_cli.console.messages import CliError, error_line, visible
from bigcodec_cli.console.tables import print_table
from bigcodec_cli.files.containers import open_container
from bigcodec_cli.files.inputs import InputOptions, sources
from bigcodec_cli.files.totals import duration_text, size_text
from bigcodec_cli.model_store.store import find_by_fingerprint


@click.command()
@source_options
@click.option("-v", "--verbose", is_flag=True, help="All that is known of every file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(where: InputOptions, verbose: bool, as_json: bool) -> None:
    """Show what .bcdc files hold, after verifying their checksums; '-' is stdin.

    Of several files a table, with their totals; -v shows more of each. Nothing is decoded. On disk:
    bits of the whole file a second. Approximate: the order-0 entropy of the tokens, which is how
    papers count.
    """
    paths = sources(where, frozenset([".bcdc"]))
    in_table: list[dict[str, Any]] = []
    failures = 0
    for index, path in enumerate(paths):
        try:
            facts = describe(path or Path("stdin"), open_container(path))
        except CliError as error:
            failures += 1
            error_line(str(error))
            continue
        if as_json:
            click.echo(json.dumps(facts))
        elif verbose or len(paths) == 1:
            click.echo(("\n" if index else "") + _as_text(facts))
        else:
            in_table.append(facts)
    if in_table:
        _print_table(in_table)
    if failures:
        raise click.exceptions.Exit(1)


def describe(path: Path, container: bcdc.Container) -> dict[str, Any]:
    """What `info` shows of a container, ready for JSON."""
    header, seconds = container.header, container.seconds
    entry = find_by_fingerprint(header.fingerprint)
    frames_per_second = bcdc.MODEL_RATE / header.geometry.hop
    token_rate = header.geometry.codebooks * header.channels * frames_per_second
    return {
        "file": str(path),
        "version": bcdc.VERSION,
        "bytes": container.size,
        "seconds": seconds,
        "sample_rate": header.sample_rate,
        "channels": header.restored_channels,
        "coded_channels": header.channels,
        "samples": container.num_samples,
        "model": entry.name if entry else None,
        "model_fingerprint": header.fingerprint.hex(),
        "hop": header.geometry.hop,
        "codebook_sizes": list(header.geometry.codebook_sizes),
        "f0_coded": header.geometry.f0,
        "frames": container.frames,
        "coder": header.coder.name.lower(),
        "blocks": len(container.blocks),
        "payload_bytes": container.payload_bytes,
        "bits_per_token": container.bits_per_token,
        "entropy_bits": container.entropy,
        "approx_kbps": container.entropy * token_rate / 1000,
        "kbps_on_disk": container.size * 8 / seconds / 1000 if seconds else None,
        "tags": [list(pair) for pair in header.tags],
    }


def _as_text(facts: dict[str, Any]) -> str:
    sizes = " + ".join(str(size) for size in facts["codebook_sizes"])
    model = facts["model"] or "not among 'bigcodec models list'"
    rows = [
        ("duration", f"{facts['seconds']:.3f} s, {facts['samples']} samples"),
        ("audio", f"{facts['sample_rate']} Hz, {_channels_text(facts)}"),
        ("model", f"{model} ({facts['model_fingerprint']})"),
        ("tokens", f"{facts['frames']} frames, hop {facts['hop']}, codebook {sizes}"),
        ("F0", "coded, the last codebook" if facts["f0_coded"] else "not in the file"),
        ("coder", f"{facts['coder']}, {facts['bits_per_token']:.2f} bits a token"),
        (
            "size",
            f"{facts['bytes']} bytes, {facts['payload_bytes']} of them in {facts['blocks']} blocks",
        ),
    ]
    if facts["kbps_on_disk"] is not None:
        rows.append(("on disk", f"{facts['kbps_on_disk']:.3f} kbit/s"))
    rows.append(
        ("approximate", f"{facts['approx_kbps']:.3f} kbit/s (order-0 entropy of the tokens)")
    )
    rows += [(f"tag {name}", value) for name, value in facts["tags"]]
    lines = [f"  {name:<12} {text}" for name, text in rows]
    return "\n".join(visible(line) for line in [f"{facts['file']}:", *lines])


def _channels_text(facts: dict[str, Any]) -> str:
    if facts["coded_channels"] == facts["channels"]:
        return f"{facts['channels']} channel(s)"
    return f"{facts['channels']} equal channels, coded once"


def _print_table(files: Sequence[dict[str, Any]]) -> None:
    titles = ["file", "duration", "channels", "size", "kbit/s", "model"]
    rows = [
        [
            facts["file"],
            duration_text(facts["seconds"]),
            str(facts["channels"]),
            size_text(facts["bytes"]),
            _rate_text(facts["bytes"], facts["seconds"]),
            facts["model"] or facts["model_fingerprint"],
        ]
        for facts in files
    ]
    size, seconds = (sum(facts[name] for facts in files) for name in ("bytes", "seconds"))
    total = f"total of {len(files)}"
    rate = _rate_text(size, seconds)
    rows.append([total, duration_text(seconds), "", size_text(size), rate, ""])
    print_table(titles, rows, right=titles[1:5], folding=["file"])


def _rate_text(size: int, seconds: float) -> str:
    return f"{size * 8 / seconds / 1000:.3f}" if seconds else ""
