"""scripts/draw_codecs.py on results written by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "scripts" / "draw_codecs.py"


def codec(name: str, **means: float) -> dict[str, object]:
    return {"name": name, "total": {key: {"mean": mean} for key, mean in means.items()}}


def test_a_line_for_the_rates_of_a_codec_and_a_row_for_each(tmp_path: Path) -> None:
    codecs = [
        codec("opus:12", kbps_on_disk=11.6, pesq_wb=3.5, stoi=0.98, sim=0.95),
        codec("lite-5", kbps_on_disk=0.89, pesq_wb=2.5, stoi=0.918, sim=0.94),
        codec("opus:6", kbps_on_disk=5.77, pesq_wb=2.35, stoi=0.911, sim=0.896),
    ]
    results = {"files": 3, "seconds": 90.0, "codecs": codecs}
    (tmp_path / "results.json").write_text(json.dumps(results))
    words = [SCRIPT, tmp_path / "results.json", "--out", tmp_path / "drawn.svg"]
    command = [sys.executable, *map(str, words)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.splitlines()[2:] == [
        "| lite-5 | 0.89 | 2.50 | 0.918 | 0.940 |",
        "| opus:6 | 5.77 | 2.35 | 0.911 | 0.896 |",
        "| opus:12 | 11.60 | 3.50 | 0.980 | 0.950 |",
    ]
    drawing = ET.parse(tmp_path / "drawn.svg").getroot()
    charts = drawing.findall("{*}svg")
    assert [len(chart.findall("{*}circle")) for chart in charts] == [2, 2, 2]
    assert "Means over 3 files, 1.5 min of speech" in "".join(drawing.itertext())
