"""bigcodec compare"""

from __future__ import annotations

import json
from pathlib import Path

import click

from bigcodec_cli.commands.metric_options import metrics_option, recognizer_option
from bigcodec_cli.console.messages import CliError, error_line, note
from bigcodec_cli.evaluation.config import with_recognizer


@click.command()
@click.argument("original", metavar="A", type=click.Path(path_type=Path))
@click.argument("restored", metavar="B", type=click.Path(path_type=Path))
@click.option("--align/--no-align", default=True, help="Remove B's delay first (the default).")
@metrics_option
@recognizer_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    original: Path,
    restored: Path,
    align: bool,
    metrics: tuple[str, ...],
    recognizer: Path | None,
    as_json: bool,
) -> None:
    """Compute quality metrics of B, with A as the original.

    Both are mixed to one channel and resampled to 16 kHz; B is cut or padded to A's length.
    """
    for path in (original, restored):
        if not path.exists():
            raise CliError(f"{path}: no such file")
    from bigcodec_cli.evaluation.comparison import compare
    from bigcodec_cli.evaluation.packages import by_cause
    from bigcodec_cli.evaluation.report.exports import comparison_json, comparison_text

    comparison = compare(
        original, restored, align, with_recognizer(metrics, recognizer), recognizer
    )
    click.echo(json.dumps(comparison_json(comparison)) if as_json else comparison_text(comparison))
    for names, reason in by_cause(comparison.missing):
        note(f"left out: {names}: {reason}")
    for fault in comparison.faults:
        error_line(f"{fault}; compared as far as it goes")
    if comparison.faults:
        raise click.exceptions.Exit(1)
