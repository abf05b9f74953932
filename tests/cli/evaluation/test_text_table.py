"""Tables for terminals: they fit, hold every cell, and name each missing package once."""

from __future__ import annotations

import re

import pytest

from bigcodec_cli.evaluation.codecs.base import CodecInfo
from bigcodec_cli.evaluation.metrics.definitions import METRICS
from bigcodec_cli.evaluation.packages import Missing, MissingError, by_cause, load_package
from bigcodec_cli.evaluation.report.exports import to_text
from bigcodec_cli.evaluation.report.text_table import table_text
from bigcodec_cli.evaluation.results import Evaluation, Result, Setting

CODECS = ("lite-4", "opus:6", "codec2:1200", "codec2:2400", "encodec:1.5", "dac:4")


def evaluation(count: int) -> Evaluation:
    """Three files in two groups, with every metric, by some codecs."""
    setting = Setting(
        folder="speech",
        version="1",
        started="2026-11-23T09:00:00+00:00",
        elapsed=1.0,
        machine="m",
        device="cpu",
        jobs=1,
    )
    infos = [CodecInfo(name=n, is_bigcodec=False, description="") for n in CODECS[:count]]
    results = [
        Result(
            file=f"{number}.wav",
            group=("librispeech-dev-clean", "vctk")[number % 2],
            codec=info.name,
            seconds=3.0,
            values={
                m.key: 100.0 + number if "realtime" in m.key else 3.0 + number / 4 for m in METRICS
            },
            failed={},
        )
        for number in range(3)
        for info in infos
    ]
    return Evaluation(setting, infos, results, {}, {})


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("count", [1, 4, 6])
def test_tables_fit_and_hold_everything(count: int, width: int) -> None:
    text = to_text(evaluation(count), width)
    assert max(map(len, text.splitlines())) <= width
    means, *_ = re.split(r"\n\n(?=group|\s+files)", text)
    assert all(name in means for name in CODECS[:count])
    for metric in METRICS:
        mean = evaluation(count).summary(CODECS[0]).means[metric.key]
        first = re.escape(metric.label.partition(", ")[0])
        rows = re.findall(rf"^{first}[ ,](.*)$", means, re.MULTILINE)
        assert sum(row.count(f" {metric.text(mean.mean)}") for row in rows) == count, rows
        assert mean.low is not None and metric.text(mean.low) in means


def test_four_codecs_are_one_table_at_80_columns() -> None:
    means = to_text(evaluation(4), 80).partition("\n\n")[0].splitlines()
    assert means[0].split() == list(CODECS[:4])
    assert means[1].startswith("PESQ-WB ↑  ") and means[1].count("3.25") == 4
    assert means[2].split() == ["3.00–3.50"] * 4
    assert sum(line.startswith("PESQ-WB") for line in means) == 1


def test_a_wide_terminal_gets_one_line_for_each_metric() -> None:
    lines = to_text(evaluation(2), 120).splitlines()
    assert lines[1].split() == ["PESQ-WB", "↑", *["3.25", "[3.00,", "3.50]"] * 2]


def test_cells_of_one_row_stay_beside_each_other() -> None:
    rows = [["", "a b", "ccc"], ["x", "1.0 [0.5, 2.0]", ""], ["long name", "3", "4.25"]]
    assert table_text(rows, 80, 1) == (
        "                      a b   ccc\n"
        "x          1.0 [0.5, 2.0]\n"
        "long name               3  4.25\n"
    )
    assert table_text(rows, 25, 1) == (
        "                 a\n                 b   ccc\nx              1.0\n           0.5–2.0\n"
        "long name        3  4.25\n"
    )
    assert table_text(rows, 20, 1) == (
        "                 a\n                 b\nx              1.0\n           0.5–2.0\n"
        "long name        3\n\n            ccc\nx\nlong name  4.25\n"
    )


def test_each_missing_package_is_named_once_with_its_extra() -> None:
    missing = {
        "pesq_wb": Missing("r", "pesq", "eval"),
        "pesq_nb": Missing("r", "pesq", "eval"),
        "sim_wavlm": Missing("r", "transformers", "baselines"),
        "opus:6": Missing("opusenc is not installed"),
        "stoi": Missing("r", "pystoi", "eval"),
        "opus:8": Missing("opusenc is not installed"),
        "dac:4": Missing("r", "transformers", "baselines"),
    }
    assert by_cause(missing) == [
        (
            "pesq_wb, pesq_nb, stoi",
            "pesq, pystoi are not installed (pip install 'bigcodec-cli[eval]')",
        ),
        (
            "sim_wavlm, dac:4",
            "transformers is not installed (pip install 'bigcodec-cli[baselines]')",
        ),
        ("opus:6, opus:8", "opusenc is not installed"),
    ]


def test_a_package_that_is_not_there_names_its_extra() -> None:
    with pytest.raises(MissingError, match="no_such_package is not installed") as caught:
        load_package("no_such_package.inside", "baselines")
    assert Missing.of(caught.value) == Missing(
        "no_such_package is not installed (pip install 'bigcodec-cli[baselines]')",
        "no_such_package",
        "baselines",
    )
