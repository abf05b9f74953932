"""RESULTS.md: a section for each script, written by that script only."""

from __future__ import annotations

import datetime
import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

RESULTS = Path(__file__).with_name("RESULTS.md")
_HEAD = (
    "# Measurements\n\n"
    "Written by the scripts of this folder, a section each; nothing here is typed by hand.\n"
)
_BUSY = 0.5  # load above which a machine is not idle


def write_section(title: str, text: str) -> None:
    """Put a section in RESULTS.md, in the place of the one of this title if there is one."""
    content = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else _HEAD
    section = f"## {title}\n\n{text.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(content):
        content = pattern.sub(lambda _: section + "\n", content)
    else:
        content = content.rstrip("\n") + "\n\n" + section
    RESULTS.write_text(content.rstrip("\n") + "\n", encoding="utf-8")
    print(section)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(load: float) -> str:
    """One line on the machine, the date, and other work on it: `load_before` at the start."""
    busy = f"; load {load:.1f} before the run, so other work slowed it" if load > _BUSY else ""
    when = datetime.datetime.now(datetime.UTC).date()
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}; {when}{busy}."
    )


def load_before() -> float:
    """The load average of the last minute."""
    return os.getloadavg()[0]


def best_of(rounds: int, tasks: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of each task: the shortest of several rounds, which run the tasks in turn."""
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(rounds):
        for name, run in tasks.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model.group(1) if model else platform.machine()
