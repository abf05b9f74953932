"""scripts/experiments/draw_comparison.py on logs written by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "scripts" / "experiments" / "draw_comparison.py"


def write_run(folder: Path, speed: float, pesq: float | None) -> None:
    """A finished run of 25 steps, validated at step 20 and at the end."""
    folder.mkdir(parents=True)
    rows: list[dict[str, object]] = [
        {"event": "progress", "step": step, "steps_per_second": speed} for step in (10, 20)
    ]
    for step, mel in ((20, 3.0), (25, 2.5)):
        rows.append({"event": "validation", "step": step, "mel": mel, "stoi": 0.6, "pesq": pesq})
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "done").touch()


def draw(runs: Path, out: Path) -> str:
    command = [sys.executable, str(SCRIPT), str(runs), "--out", str(out)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_table_and_curves(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/lstm", 0.1, 1.25)
    write_run(tmp_path / "runs/attention", 0.2, 1.5)
    write_run(tmp_path / "runs/small", 0.05, None)
    write_run(tmp_path / "runs/unfinished", 1.0, 1.0)
    (tmp_path / "runs/unfinished/done").unlink()
    table = draw(tmp_path / "runs", tmp_path / "drawn.svg")
    assert "| lstm | 4.2 | 25 | 0.10 | 2.500 | 0.600 | 1.25 |" in table  # 250 s
    assert "| attention | 2.1 | 25 | 0.20 | 2.500 | 0.600 | 1.50 |" in table
    assert "| small | 8.3 | 25 | 0.05 | 2.500 | 0.600 |  |" in table
    assert "unfinished" not in table
    drawing = ET.parse(tmp_path / "drawn.svg").getroot()
    charts = drawing.findall("{*}svg")
    curves = [len(chart.findall("{*}circle")) for chart in charts]
    assert curves == [2, 2, 2, 1, 1]
