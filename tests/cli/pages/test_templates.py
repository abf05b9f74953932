"""Templates: whatever is inserted stays text."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import jinja2
import pytest

from bigcodec_cli.pages.templates import render

HOSTILE = '"><script>alert(1)</script>{{ 7 * 7 }}&amp;\x00\x07\u202e\udcff'
PAGE = """{% extends "page.html.j2" %}
{% block content %}<p title="{{ value }}">{{ value }}</p>{% endblock %}"""


def page(folder: Path, **values: object) -> str:
    (folder / "test.html.j2").write_text(PAGE)
    texts = {"title": "title", "heading": "heading", "details": ["one", "two"]}
    return render(folder / "test.html.j2", **(texts | values))


def test_inserted_text_stays_text(tmp_path: Path) -> None:
    text = page(tmp_path, value=HOSTILE, title=HOSTILE, heading=HOSTILE, details=[HOSTILE, "two"])
    assert "<script" not in text
    root = ET.fromstring(text.removeprefix("<!DOCTYPE html>"))
    shown = '"><script>alert(1)</script>{{ 7 * 7 }}&amp;'
    paragraph = root.find("body/p")
    assert paragraph is not None
    assert paragraph.text == shown and paragraph.attrib["title"] == shown
    assert root.findtext("head/title") == shown and root.findtext("body/header/h1") == shown
    assert root.findtext("body/header/p") == f"{shown} · two"


def test_a_missing_value_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="value"):
        page(tmp_path)


def test_a_page_fetches_nothing(tmp_path: Path) -> None:
    text = page(tmp_path, value="")
    assert "default-src 'none'" in text and "prefers-color-scheme" in text and ".grid" in text
    assert "url(" not in text and "@import" not in text and "://" not in text


def test_only_a_page_loads_jinja() -> None:
    code = (
        "import sys, bigcodec_cli.pages.templates, bigcodec_cli.commands.compress\n"
        "import bigcodec_cli.coding.compress_files, bigcodec_cli.training.run\n"
        "print('jinja2' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
