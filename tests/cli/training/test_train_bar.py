"""The bar of a training run on terminals of several widths."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from bigcodec_cli.training.log import RunLog
from bigcodec_models.training.events import Progress


@pytest.mark.parametrize("columns", [40, 60, 80, 100])
def test_the_bar_ends_with_a_whole_number(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    progress = Progress(
        step=200_000,
        losses={f"loss{n}": 1.2345 for n in range(9)},
        gradient_norms={"generator": 20.0},
        learning_rate=1e-4,
        expected_steps=600_000,
        codes_used=40,
        perplexity=31.5,
        steps_per_second=2.5,
        data_wait=0.0,
    )
    with RunLog(tmp_path, max_steps=600_000, config={}, show_progress=True) as log:
        log.progress(progress)
    shown = capsys.readouterr().err.rpartition("\r")[2].rstrip()
    assert len(shown) < columns
    speed, left, loss = r"2\.50 steps/s", ", 44 h 27 min left", r"(, loss\d 1\.234)+"
    assert re.search(f"200000/600000 ?({speed}({left}({loss})?)?)?$", shown), shown
    assert ("loss0" in shown) == (columns >= 80)
