"""The records of a training run: its log, TensorBoard files and the summary page."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from bigcodec_cli.training.log import RunLog, read_log
from bigcodec_cli.training.summary import write_summary
from bigcodec_models.training.events import Progress, Validation, ValidationClip

CONFIG = {"preset": "toy", "train": {"max_steps": 400, "learning_rate": 1e-4}}
STEPS_PER_SECOND = 2.5


def report(step: int, **changes: Any) -> Progress:
    fields: dict[str, Any] = {
        "step": step,
        "expected_steps": 400,
        "losses": {"mel": 4 - step / 1000, "vq": 0.02, "total": 60.0},
        "gradient_norms": {"generator": 20.0},
        "learning_rate": 1e-4,
        "codes_used": 40,
        "perplexity": 31.5,
        "steps_per_second": STEPS_PER_SECOND,
        "data_wait": 0.0,
    }
    return Progress(**(fields | changes))


def tone(hertz: float, seconds: float = 0.5) -> npt.NDArray[np.float32]:
    time = np.arange(round(16000 * seconds)) / 16000
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def check(step: int, *clips: ValidationClip, **changes: Any) -> Validation:
    fields: dict[str, Any] = {"mel": 1.5, "stoi": 0.8, "pesq": 1.9, "best": True}
    return Validation(step=step, clips=clips, **(fields | changes))


def open_log(run: Path, **changes: Any) -> RunLog:
    options: dict[str, Any] = {"max_steps": 400, "config": CONFIG, "show_progress": False}
    return RunLog(run, **(options | changes))


@pytest.fixture
def without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if TensorBoard were not installed; quicker too."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


# The log.


@pytest.mark.usefixtures("without_tensorboard")
def test_lines_hold_every_field(tmp_path: Path) -> None:
    with open_log(tmp_path / "deep" / "run") as log:
        log.progress(report(50, data_wait=0.25))
        log.validation(check(50, ValidationClip("a", tone(200), tone(300)), pesq=None))
    first, second = read_log(tmp_path / "deep" / "run" / "log.jsonl")
    assert first.pop("event") == "progress" and second.pop("event") == "validation"
    assert 1.7e9 < first.pop("time") <= second.pop("time")
    assert first == vars(report(50, data_wait=0.25))
    assert second == {"step": 50, "mel": 1.5, "stoi": 0.8, "pesq": None, "best": True}


@pytest.mark.usefixtures("without_tensorboard")
def test_every_line_is_strict_json(tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    with open_log(tmp_path) as log:
        log.progress(report(1, losses={"mel": math.nan, "vq": np.float32(0.5)}))
        log.validation(check(1, mel=math.inf))
    text = (tmp_path / "log.jsonl").read_text()
    first, second = (json.loads(line, parse_constant=refuse) for line in text.splitlines())
    assert first["losses"] == {"mel": None, "vq": 0.5} and second["mel"] is None


@pytest.mark.usefixtures("without_tensorboard")
def test_a_resumed_run_supersedes_what_it_does_again(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        for step in (100, 200, 300):
            log.progress(report(step, codes_used=1))
            log.validation(check(step, mel=1.0))
            assert read_log(tmp_path / "log.jsonl")[-1]["step"] == step  # at once
    with open_log(tmp_path, start=150) as log:
        log.progress(report(200, codes_used=2))
    rows = read_log(tmp_path / "log.jsonl")
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 7
    reports = [(r["step"], r["codes_used"]) for r in rows if r["event"] == "progress"]
    assert reports == [(100, 1), (200, 2)]
    assert [r["step"] for r in rows if r["event"] == "validation"] == [100, 200, 300]
    assert [r["event"] for r in rows[:3]] == ["progress", "validation", "validation"]


@pytest.mark.usefixtures("without_tensorboard")
@pytest.mark.parametrize("left", [1, 10, 40])
def test_half_a_line_is_ignored_then_removed(tmp_path: Path, left: int) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(tmp_path) as log:
        log.progress(report(10))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:left])
    assert [row["step"] for row in read_log(path)] == [10]
    with open_log(tmp_path) as log:
        log.progress(report(20))
    assert [row["step"] for row in read_log(path)] == [10, 20]
    assert path.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


@pytest.mark.usefixtures("without_tensorboard")
def test_a_line_that_lacks_only_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(tmp_path) as log:
        log.progress(report(10))
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    with open_log(tmp_path) as log:
        log.progress(report(20))
    assert [row["step"] for row in read_log(path)] == [10, 20]


def test_lines_that_are_no_events_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    good = b'{"event": "progress", "step": 3}\n'
    path.write_bytes(b'\x00\x00\n[1]\n{"step": 1}\n{"event": "x", "step": "2"}\n\xff\n' + good)
    assert read_log(path) == [{"event": "progress", "step": 3}]


# The terminal.


@pytest.mark.usefixtures("without_tensorboard")
def test_plain_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_log(tmp_path, show_progress=None) as log:  # what captures stderr is no terminal
        log.progress(report(100, data_wait=0.25))
        log.validation(check(100, stoi=None))
    out, err = capsys.readouterr()
    hint, line, validation = err.splitlines()
    assert out == "" and "bigcodec-cli[train]" in hint
    assert line.startswith("step 100: 2.50 steps/s, 2 min left, mel 3.9, vq 0.02, total 60, grad")
    assert "codes 40" in line and line.endswith("25% waiting for data")
    assert validation == "step 100: validation mel 1.5 pesq 1.9 (best)"


@pytest.mark.usefixtures("without_tensorboard")
def test_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_log(tmp_path, show_progress=True, start=100) as log:
        log.progress(report(200))
        log.validation(check(200))
        log.note("something else")
    out, err = capsys.readouterr()
    assert out == "" and "100/400" in err and "200/400" in err and "50%" in err
    assert "validation mel 1.5" in err and "\rsomething else\n" in err


def test_importing_is_cheap() -> None:
    code = (
        "import sys, bigcodec_cli.training.log, bigcodec_cli.training.summary\n"
        "print(*{'torch', 'numpy', 'tqdm', 'tensorboard', 'jinja2'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


# TensorBoard.


def read_board(run: Path) -> Any:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    everything = dict.fromkeys(("scalars", "images", "audio", "tensors"), 0)
    board = reader.EventAccumulator(str(run / "tensorboard"), everything)
    board.Reload()
    return board


def picture(board: Any, tag: str) -> npt.NDArray[np.uint8]:
    pillow = pytest.importorskip("PIL.Image")
    encoded = io.BytesIO(board.Images(tag)[-1].encoded_image_string)
    return np.asarray(pillow.open(encoded).convert("RGB"))


def test_board_scalars(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with open_log(tmp_path) as log:
        log.progress(report(50))
        log.validation(check(50, pesq=None))
        log.progress(report(100, learning_rate=5e-5))
    board = read_board(tmp_path)
    assert set(board.Tags()["scalars"]) == {
        *("losses/mel", "losses/vq", "losses/total", "gradient_norm/generator", "learning_rate"),
        *("codebook/used", "codebook/perplexity", "speed/steps_per_second", "speed/data_wait"),
        *("validation/mel", "validation/stoi"),
    }
    rates = [(event.step, event.value) for event in board.Scalars("learning_rate")]
    assert rates == [(50, pytest.approx(1e-4)), (100, pytest.approx(5e-5))]
    (config,) = board.Tensors("config/text_summary")
    assert b'"preset": "toy"' in config.tensor_proto.string_val[0]


def test_board_forgets_what_was_superseded(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for steps, codes in (((100, 200, 300), 1), ((200,), 2)):
        with open_log(tmp_path) as log:
            for step in steps:
                log.progress(report(step, codes_used=codes))
    used = [(event.step, event.value) for event in read_board(tmp_path).Scalars("codebook/used")]
    assert used == [(100, 1), (200, 2)]


def test_board_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    clips = [ValidationClip("s/a.flac", tone(300), 4 * tone(300))]  # beyond full scale
    clips += [ValidationClip("s/a.flac", tone(300 + i), tone(3000)) for i in range(9)]
    with open_log(tmp_path) as log:
        log.validation(check(50, *clips))
        log.validation(check(100, *clips))
    board = read_board(tmp_path)
    tags = board.Tags()
    assert len(tags["audio"]) == 16 and len(tags["images"]) == 8  # of 10 clips, 8
    assert [e.step for e in board.Audio("original/1_s/a.flac")] == [50]
    restored = board.Audio("restored/2_s/a.flac")
    assert [e.step for e in restored] == [50, 100]
    wave, rate = soundfile.read(io.BytesIO(restored[0].encoded_audio_string), dtype="float32")
    assert rate == 16000 and np.abs(wave - tone(3000)).max() < 1e-4
    assert capsys.readouterr().out == ""


def test_board_pictures_show_the_clips(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    silence = np.zeros(8000, np.float32)
    clips = (
        ValidationClip("low, high", tone(300), tone(5000)),
        ValidationClip("silent", silence, silence),
        ValidationClip("short", tone(300, 0.01), np.full(160, np.nan, np.float32)),
    )
    with open_log(tmp_path) as log:
        log.validation(check(50, *clips))
    board = read_board(tmp_path)
    tag = "mel_original_above_restored/{}"
    shown = picture(board, tag.format("1_low, high"))
    assert shown.shape == (2 * (80 + 4 + 80), 2 * (8000 // 256 + 1), 3)
    brightness = shown.sum(axis=2).mean(axis=1)
    upper, lower = brightness[:160], brightness[168:]
    assert upper.argmax() > 120 > 80 > lower.argmax()  # low notes are at the bottom
    silent = picture(board, tag.format("2_silent"))
    assert np.delete(silent, slice(160, 168), axis=0).max() < 10
    assert picture(board, tag.format("3_short")).shape[1] == 2 * (1024 // 256 + 1)


# The page.

OTHERS = ("codes_used", "perplexity", "gradient_norms/generator", "learning_rate")
ALL_SERIES = {
    *(f"losses/{name}" for name in ("mel", "vq", "total")),
    *(f"validation/{name}" for name in ("mel", "stoi", "pesq")),
    *OTHERS,
}


def write_run(run: Path, rows: list[dict[str, Any]], config: str = json.dumps(CONFIG)) -> Path:
    run.mkdir(exist_ok=True)
    (run / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "config.json").write_text(config)
    return run


def report_row(step: int, **changes: Any) -> dict[str, Any]:
    return {"event": "progress", "time": 1.8e9 + step, **vars(report(step, **changes))}


def check_row(step: int, **changes: Any) -> dict[str, Any]:
    return {"event": "validation", "time": 1.8e9 + step, **check(step, **changes).numbers()}


def parse_summary(run: Path) -> tuple[ET.Element, str]:
    """The page, well-formed and standing alone, and its words."""
    text = write_summary(run).read_text(encoding="utf-8")
    assert not re.search(r"https?:|<script|<link|@import|url\(|href=", text)
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', text))
    assert not re.search(r"\b(nan|inf|None)\b", re.sub(r"<style>.*</style>", "", text, flags=re.S))
    page = ET.fromstring(text.removeprefix("<!DOCTYPE html>"))
    return page, " ".join(" ".join(page.itertext()).split())


def charts_of(page: ET.Element) -> dict[str, ET.Element]:
    """The charts by name."""
    charts = list(page.iter("svg"))
    named = {chart.attrib["data-name"]: chart for chart in charts}
    assert len(named) == len(charts)
    return named


def in_class(chart: ET.Element, name: str) -> list[ET.Element]:
    return [element for element in chart.iter() if name in element.get("class", "").split()]


def test_summary_of_a_whole_run(tmp_path: Path) -> None:
    rows = [report_row(step) for step in range(50, 401, 50)]
    rows += [check_row(step, mel=mel) for step, mel in ((100, 2.0), (200, 1.25), (400, 1.5))]
    page, words = parse_summary(write_run(tmp_path / "my run", rows))
    charts = charts_of(page)
    assert set(charts) == ALL_SERIES
    assert "my run" in words and "preset toy" in words and "400 of 400" in words
    assert "Best mel distance 1.25 at step 200; last 1.50" in words
    assert f"{400 / STEPS_PER_SECOND / 60:.2f} min" in words
    for chart in charts.values():
        assert len(in_class(chart, "axis")) == 2 and len(in_class(chart, "last")) == 1
        assert len(in_class(chart, "tick")) >= 6
    (ring,) = in_class(charts["validation/mel"], "best")
    (dot,) = in_class(charts["validation/mel"], "last")
    assert float(ring.attrib["cx"]) < float(dot.attrib["cx"])
    assert float(ring.attrib["cy"]) > float(dot.attrib["cy"])  # lower is lower on the page
    assert [label.text for label in in_class(charts["losses/mel"], "label")] == ["3.60"]


def test_summary_uses_only_what_was_not_superseded(tmp_path: Path) -> None:
    rows = [report_row(100), report_row(200, perplexity=1.0)]
    write_summary(write_run(tmp_path, rows))
    page, _ = parse_summary(write_run(tmp_path, [*rows, report_row(200, perplexity=77.0)]))
    labels = in_class(charts_of(page)["perplexity"], "label")
    assert [label.text for label in labels] == ["77.0"]
    assert {p.name for p in tmp_path.iterdir()} == {"log.jsonl", "config.json", "summary.html"}


def test_summary_without_validations(tmp_path: Path) -> None:
    page, words = parse_summary(write_run(tmp_path, [report_row(50), report_row(100)]))
    assert set(charts_of(page)) == {name for name in ALL_SERIES if "validation" not in name}
    assert "Best mel loss" in words and "Validation" not in words


def test_summary_of_one_point(tmp_path: Path) -> None:
    page, _ = parse_summary(write_run(tmp_path, [report_row(50), check_row(50)]))
    assert set(charts_of(page)) == ALL_SERIES


def test_summary_with_gaps(tmp_path: Path) -> None:
    values = (4.0, math.nan, 3.0, None, 2.0, 1.0)
    rows = [report_row(10 * i, losses={"mel": v, "vq": None}) for i, v in enumerate(values)]
    rows += [check_row(20, stoi=None, pesq=math.nan), {"event": "progress", "step": 70}]
    page, _ = parse_summary(write_run(tmp_path, rows))
    charts = charts_of(page)
    assert set(charts) == {"losses/mel", "validation/mel", *OTHERS}
    (curve,) = in_class(charts["losses/mel"], "line")
    assert curve.attrib["d"].count("M") == 3


@pytest.mark.parametrize(
    "values", [(0.0, 0.0), (-3.0, 2.0), (1e-9, 5.0, 3e6), (5e-324, 1.0), (1e300, 2e300), (7, 7, 7)]
)
def test_summary_scales_hold_the_values(tmp_path: Path, values: tuple[float, ...]) -> None:
    rows = [report_row(10 * i, losses={"mel": v}) for i, v in enumerate(values, 1)]
    page, _ = parse_summary(write_run(tmp_path, rows))
    (curve,) = in_class(charts_of(page)["losses/mel"], "line")
    places = [tuple(map(float, place.split())) for place in curve.attrib["d"][1:].split("L")]
    assert len(places) == len(values)
    assert all(52 <= x <= 292 and 26 <= y <= 152 for x, y in places)
    assert len(in_class(charts_of(page)["losses/mel"], "grid")) in range(2, 10)


def test_summary_of_a_long_run_stays_small(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    noisy = ({"mel": 2 + float(random.normal(0, 0.1)), "vq": 1.0} for _ in range(5000))
    rows = [report_row(50 * i, losses=losses) for i, losses in enumerate(noisy, 1)]
    rows[2500]["losses"] = {"mel": 9.0}
    page, _ = parse_summary(write_run(tmp_path, rows))
    assert (tmp_path / "summary.html").stat().st_size < 100_000
    (band,) = in_class(charts_of(page)["losses/mel"], "band")
    heights = [float(place.split()[1]) for place in band.attrib["d"][1:-1].split("L")]
    assert sorted(heights)[0] < 40 < 100 < sorted(heights)[1]  # one spike, not averaged away


@pytest.mark.parametrize("config", ["", "{", "[]", '{"preset": null}', '{"preset": {"a": [1]}}'])
def test_summary_of_nothing(tmp_path: Path, config: str) -> None:
    page, words = parse_summary(write_run(tmp_path / "run", [], config))
    assert charts_of(page) == {} and "nothing was recorded yet" in words
    (tmp_path / "bare").mkdir()
    assert parse_summary(tmp_path / "bare")[1].startswith("bare")


def test_summary_shows_names_as_they_are(tmp_path: Path) -> None:
    config = json.dumps({"preset": "<b>&\"'\x00", "data": [["a & b", None], ["ü", 0.3]]})
    rows = [report_row(50, losses={"<i>\x07": 1.0})]
    page, words = parse_summary(write_run(tmp_path / "a <b> & c", rows, config))
    assert "a <b> & c" in words and "<b>&\"'" in words and "a & b, ü=0.3" in words
    assert "losses/<i>" in charts_of(page)
