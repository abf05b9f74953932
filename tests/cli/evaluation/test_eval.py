"""`eval` and `compare` as a user runs them."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bigcodec_cli.evaluation.comparison import compare
from bigcodec_cli.evaluation.config import EvalConfig
from bigcodec_cli.evaluation.metrics.definitions import COST, METRICS
from bigcodec_cli.evaluation.report.exports import comparison_text
from bigcodec_cli.evaluation.run import EvalClip, Worker
from bigcodec_models.registry import builtin_models

Run = Callable[..., subprocess.CompletedProcess[str]]
KEYS = {metric.key for metric in METRICS}
COSTS = {metric.key for metric in COST}
COMPUTED = ("pesq_wb", "stoi", "mcd", "mel")
SPEEDS = {"encode_x_realtime", "decode_x_realtime"}


@pytest.fixture
def bigcodec(in_process: Run) -> Run:
    """Commands in this process, where a test does not name `new_process`."""
    return in_process


@pytest.fixture
def clips(tmp_path: Path, speech: Path) -> Path:
    """A folder with two short clips of real speech, each in a folder of its own."""
    samples, rate = soundfile.read(speech, dtype="float32")
    for name, part in {"a/one.wav": samples[:24000], "b/two.wav": samples[40000:72000]}.items():
        (tmp_path / "clips" / name).parent.mkdir(parents=True)
        soundfile.write(tmp_path / "clips" / name, part, rate)
    return tmp_path / "clips"


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_two_clips_are_evaluated_from_bytes_on_disk(
    bigcodec: Run, tmp_path: Path, clips: Path, toy_model: Path
) -> None:
    outputs = ("--json", "out.json", "--csv", "out.csv", "--report", "out.html")
    metrics = ("--metrics", ",".join(COMPUTED))
    done = bigcodec("eval", clips, "--model", toy_model, "--jobs", "2", *metrics, *outputs)
    assert done.returncode == 0, done.stderr
    report = load(tmp_path / "out.json")
    (codec,) = report["codecs"]
    assert (codec["name"], codec["is_bigcodec"], report["files"]) == (toy_model.stem, True, 2)
    assert set(codec["groups"]) == {"a", "b"}
    rows = codec["per_file"]
    assert [row["file"] for row in rows] == ["a/one.wav", "b/two.wav"]
    assert all(set(row) >= KEYS for row in (*rows, codec["total"]))
    for row in rows:
        tried = set(row["failed"]) | {key for key in KEYS if row[key] is not None}
        assert tried == {*COMPUTED, *COSTS} - set(report["missing"])
    check_cost(bigcodec, clips, toy_model, codec)
    check_means(codec)
    check_same_in_one_process(clips, toy_model, rows)
    with (tmp_path / "out.csv").open(newline="") as file:
        table = [row for row in csv.DictReader(file) if row["codec"] == toy_model.stem]
    assert [float(row["kbps_on_disk"]) for row in table] == [row["kbps_on_disk"] for row in rows]
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 4
    assert "kbit/s on disk ↓" in done.stdout and "PESQ-WB ↑" in done.stdout


def check_cost(bigcodec: Run, clips: Path, model: Path, codec: Any) -> None:
    """The bytes are those of `compress`, and the entropy that of `info`."""
    total = 0
    for row in codec["per_file"]:
        assert bigcodec("compress", clips / row["file"], "-o", "x.bcdc", "-f", "--model", model)
        info = json.loads(bigcodec("info", "--json", "x.bcdc").stdout)
        assert row["kbps_on_disk"] == pytest.approx(info["kbps_on_disk"])
        assert row["entropy_bits"] == pytest.approx(info["entropy_bits"], abs=2e-4)
        assert row["approx_kbps"] == pytest.approx(info["approx_kbps"], abs=2e-4)
        total += info["bytes"]
    seconds = sum(row["seconds"] for row in codec["per_file"])
    mean = codec["total"]["kbps_on_disk"]["mean"]
    assert mean == pytest.approx(total * 8 / seconds / 1000)


def check_means(codec: Any) -> None:
    rows, total = codec["per_file"], codec["total"]
    assert total["mel"]["mean"] == pytest.approx(np.mean([row["mel"] for row in rows]))
    assert total["mel"]["low"] <= total["mel"]["mean"] <= total["mel"]["high"]
    assert total["mel"]["files"] == 2
    assert codec["groups"]["a"]["mel"]["mean"] == rows[0]["mel"]
    assert total["codebook_used"]["mean"] >= max(row["codebook_used"] for row in rows)
    time = sum(row["seconds"] / row["encode_x_realtime"] for row in rows)
    speed = sum(row["seconds"] for row in rows) / time
    assert total["encode_x_realtime"]["mean"] == pytest.approx(speed)


def check_same_in_one_process(clips: Path, model: Path, rows: Any) -> None:
    config = EvalConfig(models=(str(model),), baselines=(), metrics=COMPUTED, device="cpu", jobs=1)
    outcome = Worker(config)(EvalClip(path=clips / "a/one.wav", name="a/one.wav", group="a"))
    assert outcome.unread is None
    alone = outcome.results[1].values
    for key in alone.keys() - SPEEDS:
        assert rows[0][key] == pytest.approx(alone[key], rel=1e-4), key


def test_models_are_evaluated_in_either_f0_mode(
    bigcodec: Run, tmp_path: Path, clips: Path, f0_model: Path, toy_model: Path
) -> None:
    arguments = ("eval", clips, "--model", f0_model, "--metrics", "mel", "-f", "--json", "out.json")
    rates = {}
    for options, mode in (((), "predicted"), (("--f0", "coded"), "coded")):
        done = bigcodec(*arguments, *options)
        assert done.returncode == 0, done.stderr
        (codec,) = load(tmp_path / "out.json")["codecs"]
        assert codec["description"].endswith(f"; F0 {mode}")
        for row in codec["per_file"]:
            name, model = clips / row["file"], ("--model", f0_model)
            packed = bigcodec("compress", name, "-o", "x.bcdc", "-f", *model, "--f0", mode)
            assert packed.returncode == 0, packed.stderr
            info = json.loads(bigcodec("info", "--json", "x.bcdc").stdout)
            assert row["kbps_on_disk"] == pytest.approx(info["kbps_on_disk"])
            assert info["f0_coded"] == (mode == "coded")
        rates[mode] = codec["total"]["kbps_on_disk"]["mean"]
    assert rates["predicted"] < rates["coded"]
    done = bigcodec(*arguments, "--f0", "predicted", "--f0", "coded", "--f0", "coded")
    assert done.returncode == 0, done.stderr
    both = load(tmp_path / "out.json")["codecs"]
    assert {codec["name"]: codec["total"]["kbps_on_disk"]["mean"] for codec in both} == {
        f"{f0_model.stem} F0 {mode}": rate for mode, rate in rates.items()
    }
    done = bigcodec(*arguments, "--f0", "coded", "--model", toy_model)
    assert done.returncode == 1 and "has no F0 tokens; leave --f0 out" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_missing_or_broken_is_named(
    bigcodec: Run, tmp_path: Path, clips: Path, toy_model: Path
) -> None:
    (clips / "b" / "broken.flac").write_bytes(b"fLaC and nothing more")
    soundfile.write(clips / "a" / "one.wav", np.zeros(8000), 16000)
    (clips / "b" / "two.wav").unlink()
    baselines = ("--baselines", "opus:6,codec2:1200")
    outputs = ("--metrics", "mel,stoi", "--json", "out.json")
    arguments = ("eval", clips, "--model", toy_model, *baselines, *outputs)
    done = bigcodec(*arguments, PATH=str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert "b/broken.flac" in done.stderr and "Traceback" not in done.stderr
    report = load(tmp_path / "out.json")
    assert report["missing"]["opus:6"].startswith("opusenc is not installed")
    assert report["missing"]["codec2:1200"].startswith("c2enc is not installed")
    assert "left out: opus:6: opusenc is not installed" in done.stderr
    assert "not installed" not in done.stdout
    assert list(report["unread"]) == ["b/broken.flac"]
    (row,) = report["codecs"][0]["per_file"]
    assert row["mel"] is None and row["failed"]["mel"] == "the original is silent"
    assert report["codecs"][0]["total"]["mel"] is None
    assert report["codecs"][0]["total"]["failed"]["mel"] == 1
    assert row["kbps_on_disk"] > 0
    assert "mel failed for" in done.stdout and "the original is silent" in done.stdout


def test_a_codec_that_fails_has_no_values(
    bigcodec: Run, tmp_path: Path, clips: Path, toy_model: Path
) -> None:
    for program in ("opusenc", "opusdec"):
        (tmp_path / program).write_text("#!/bin/sh\necho it is out of order >&2\nexit 3\n")
        (tmp_path / program).chmod(0o755)
    options = ("--baselines", "opus:6", "--metrics", "mel", "--json", "out.json")
    done = bigcodec("eval", clips, "--model", toy_model, *options, PATH=str(tmp_path))
    assert done.returncode == 1, done.stderr
    model, opus = load(tmp_path / "out.json")["codecs"]
    assert model["total"]["mel"]["files"] == 2
    assert all(opus["total"][key] is None for key in KEYS)
    reasons = [row["failed"] for row in opus["per_file"]]
    assert reasons == [{"coding": "opusenc failed: it is out of order"}] * 2
    assert "opusenc failed: it is out of order (" in done.stdout


def test_a_page_for_listeners_has_the_titles_of_the_files(
    bigcodec: Run, tmp_path: Path, clips: Path, toy_model: Path
) -> None:
    samples, rate = soundfile.read(clips / "a" / "one.wav", dtype="float32")
    with soundfile.SoundFile(clips / "a" / "one.flac", "w", rate, 1) as file:
        file.title, file.license = "A title of a talk", "CC0 1.0"
        file.write(samples)
    (clips / "a" / "one.wav").unlink()
    options = ("--model", toy_model, "--metrics", "mel", "--page", "clips", "--report", "out.html")
    done = bigcodec("eval", clips, *options)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert page.index('id="clips"') < page.index('id="means"') and 'id="charts"' not in page
    assert "A title of a talk <small>a/one.flac, 1.5 s" in page and "CC0 1.0" in page


NEWEST = builtin_models()[-1].name


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("clips", "--baselines", "mp3:32"), 2, "mp3:32: no such baseline"),
        (("clips", "--metrics", "stoi,mos"), 2, "mos: no such metric"),
        (("clips", "--json", "a", "--csv", "a"), 2, "must name different files"),
        (("clips", "--jobs", "0"), 2, "--jobs"),
        (("clips", "--page", "song"), 2, "--page"),
        (("clips", "--model", "lite", "--model", NEWEST), 2, "models need different names"),
        (("clips", "--json", "none/a.json"), 1, "none/a.json: its folder does not exist"),
        (("clips", "--json", "there.json"), 1, "there.json: already exists; use -f"),
        (("clips", "--model", "nothing"), 1, "nothing: no such model or file"),
        (("nowhere",), 1, "nowhere: not a folder"),
    ],
)
def test_wrong_usage_is_refused_before_any_work(
    bigcodec: Run, tmp_path: Path, clips: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    (tmp_path / "there.json").write_text("mine")
    done = bigcodec("eval", *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "there.json").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "there.json"]


def test_two_files_are_compared(bigcodec: Run, tmp_path: Path, speech: Path) -> None:
    samples, rate = soundfile.read(speech, dtype="float32")
    first = samples[:32000]
    soundfile.write(tmp_path / "a.wav", first, rate)
    soundfile.write(tmp_path / "b.wav", np.pad(first, (160, 0)), rate)
    comparison = json.loads(
        bigcodec("compare", "a.wav", "b.wav", "--json", "--metrics", "mel,stoi").stdout
    )
    assert (comparison["delay_ms"], comparison["seconds"], comparison["surplus_seconds"]) == (
        10,
        2,
        0.01,
    )
    assert (comparison["mel"], comparison["failed"]) == (0, {})
    shifted = compare(tmp_path / "a.wav", tmp_path / "b.wav", aligned=False, keys=["mel"])
    assert shifted.delay_ms == 0 and shifted.values["mel"] > 0.5
    lines = comparison_text(shifted).splitlines()
    assert lines[:2] == ["2.000 s", "B is 0.010 s longer than A"]
    assert lines[2:] == [f"Mel ↓            {shifted.values['mel']:.2f}"]


def test_compare_refuses_a_file_without_samples(
    bigcodec: Run, tmp_path: Path, speech: Path
) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    done = bigcodec("compare", speech, "empty.wav")
    assert done.returncode == 1
    assert "empty.wav: holds no samples" in done.stderr and "Traceback" not in done.stderr
