"""The page: it needs no other file, shows the results, and works in a browser."""

from __future__ import annotations

import dataclasses
import html
import io
import json
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from bigcodec_cli.evaluation.codecs.base import CodecInfo
from bigcodec_cli.evaluation.packages import Missing
from bigcodec_cli.evaluation.report.html import to_html
from bigcodec_cli.evaluation.results import Evaluation, Result, Setting
from bigcodec_cli.pages.media import grey_png, make_sound, spectrogram_png
from bigcodec_models.arrays import Wave

HOSTILE = "<img src=http://example.com/x.png>\"'&\x07.wav"
FILES = {"b/one.wav": "b", "b/two.wav": "b", "a/three.wav": "a", HOSTILE: ""}
CODECS = {"lite": 1.1, "opus:6": 6.2}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def result(file: str, codec: str, number: int, wave: Wave) -> Result:
    coded = codec in CODECS
    values = {"dnsmos": 3.5}
    if coded:
        values |= {"pesq_wb": 1 + number / 7, "stoi": 0.5 + number / 100, "mcd": 10.0 - number}
        values |= {"kbps_on_disk": CODECS[codec], "decode_x_realtime": 20.0}
    failed = {}
    if codec == "lite" and number == 2:
        failed["pesq_wb"] = "No <utterances>"
        del values["pesq_wb"]
    return Result(
        file=file,
        group=FILES[file],
        codec=codec,
        seconds=len(wave) / 16000,
        values=values,
        failed=failed,
        sound=make_sound(wave, 1.0) if number < 2 else None,
    )


@pytest.fixture(scope="module")
def evaluation(wave: Wave) -> Evaluation:
    return Evaluation(
        Setting(
            folder="speech",
            version="1.2.3",
            started="2026-11-23T09:00:00+00:00",
            elapsed=61.0,
            machine="a machine",
            device="cpu",
            jobs=2,
        ),
        [
            CodecInfo(name=name, is_bigcodec=name == "lite", description=f"how {name} was run")
            for name in CODECS
        ],
        [
            result(file, codec, number, wave)
            for number, file in enumerate(FILES)
            for codec in ("original", *CODECS)
        ],
        {"codec2:1200": Missing("c2enc is not installed")},
        {"broken.wav": "cannot be read as audio"},
    )


def parsed(page: str) -> ElementTree.Element:
    """The page as XML, which is stricter than HTML."""
    return ElementTree.fromstring(page.partition("\n")[2])


def words(element: ElementTree.Element | None) -> str:
    assert element is not None
    return " ".join(" ".join(element.itertext()).split())


def test_the_page_needs_no_other_file(evaluation: Evaluation) -> None:
    page = to_html(evaluation)
    root = parsed(page)
    addresses = [
        value
        for element in root.iter()
        for name, value in element.attrib.items()
        if name in ("src", "href", "srcset", "poster", "action", "style") or "://" in value
        if name != "title" and name != "data-value"
    ]
    assert addresses and all(value.startswith(("data:", "#clip-")) for value in addresses)
    assert "url(" not in page and "@import" not in page
    policy = root.find("head/meta[@http-equiv='Content-Security-Policy']")
    assert policy is not None and "default-src 'none'" in policy.attrib["content"]
    assert HOSTILE.replace("\x07", "") in words(root)


def test_the_page_shows_the_results(evaluation: Evaluation) -> None:
    root = parsed(to_html(evaluation))
    rows = {words(row.find("th")): row for row in root.iterfind(".//section[@id='means']//tr")}
    (pesq,) = (row for name, row in rows.items() if name.startswith("PESQ-WB ↑"))
    cells = [words(cell) for cell in pesq.iterfind("td")]
    assert cells[0].startswith("1.19 1.00 to 1.43 (3 of 4 files)")
    assert cells[1].startswith("1.21 ")
    assert cells[2] == "–"
    figures = root.findall(".//section[@id='charts']//svg")
    assert [svg.attrib["data-name"] for svg in figures] == ["pesq_wb", "stoi", "mcd", "dnsmos"]
    assert all(len(svg.findall("circle")) == 2 for svg in figures)
    assert "lite 3.50 at 1.10, opus:6 3.50 at 6.20" in words(figures[3].find("title"))
    assert len(root.findall(".//section[@id='groups']//tbody/tr")) == 6
    missing = words(root.find(".//section[@id='missing']"))
    assert "codec2:1200 left out c2enc is not installed" in missing
    assert "broken.wav was not read in full cannot be read as audio" in missing
    assert "pesq_wb failed for lite on 1 of the files No <utterances> (a/three.wav)" in missing
    assert "how opus:6 was run" in words(root.find(".//section[@id='codecs']"))


def test_every_file_has_a_row_and_a_failure_its_reason(evaluation: Evaluation) -> None:
    root = parsed(to_html(evaluation))
    rows = root.findall(".//section[@id='files']//tbody/tr")
    assert len(rows) == 8
    failed = [cell for row in rows for cell in row if cell.attrib.get("class") == "bad"]
    assert [(cell.text, cell.attrib["title"]) for cell in failed] == [("failed", "No <utterances>")]
    assert all("data-value" not in cell.attrib for cell in failed)


def test_players_hold_the_sound(evaluation: Evaluation, wave: Wave) -> None:
    root = parsed(to_html(evaluation))
    players = root.findall(".//section[@id='clips']//audio")
    assert len(players) == 6
    assert "2 of the 4 files" in words(root.find(".//section[@id='clips']"))
    sound = evaluation.results[0].sound
    assert sound is not None
    samples, rate = soundfile.read(io.BytesIO(sound.flac), dtype="float32")
    assert rate == 16000
    assert np.abs(samples - wave).max() < 1e-4


def test_rows_of_files_with_players_lead_to_them(evaluation: Evaluation) -> None:
    root = parsed(to_html(evaluation))
    places = {element.attrib["id"]: element for element in root.iter() if "id" in element.attrib}
    rows = root.findall(".//section[@id='files']//tbody/tr")
    links: dict[str, list[tuple[str, str]]] = {words(row[0]): [] for row in rows}
    for row in rows:
        links[words(row[0])] += [(words(row[1]), a.attrib["href"]) for a in row.iter("a")]
    assert [len(addresses) for addresses in links.values()] == [2, 2, 0, 0]
    for file, addresses in links.items():
        for codec, address in addresses:
            figure = places[address.removeprefix("#")]
            assert figure.find("audio") is not None
            assert words(figure.find("figcaption")).startswith(codec)
            assert words(places[address[1:].rpartition("-")[0]]).startswith(file)


def test_the_page_of_clips_has_them_first_and_means_for_listeners(evaluation: Evaluation) -> None:
    root = parsed(to_html(evaluation, page="clips"))
    sections = [section.attrib["id"] for section in root.iter("section")]
    assert sections == ["clips", "means", "codecs", "missing"]
    assert words(root.find("body/header")).startswith("Speech before and after coding 4 files")
    assert "a machine" not in words(root.find("body/header"))
    rows = [words(row) for row in root.iterfind(".//section[@id='means']//tbody/tr/th")]
    assert any(row.startswith("PESQ-WB") for row in rows)
    assert any(row.startswith("kbit/s on disk") for row in rows)
    assert not any(row.startswith("Decoding") for row in rows)
    assert len(root.findall(".//section[@id='clips']//audio")) == 6


def test_clips_have_the_credit_of_their_file(evaluation: Evaluation) -> None:
    tags = {
        "title": "<b>A talk</b>\x07",
        "artist": "An & Other",
        "copyright": "(c) " + 999 * "z",
        "license": "CC0",
        "comment": "made by a program",
    }
    first, *others = evaluation.results
    page = to_html(
        dataclasses.replace(evaluation, results=[dataclasses.replace(first, tags=tags), *others])
    )
    tagged, plain = parsed(page).findall(".//section[@id='clips']/h3")
    assert words(tagged) == "<b>A talk</b> b/one.wav, 3.0 s"
    assert words(plain) == "b/two.wav 3.0 s"
    (credit,) = parsed(page).findall(".//section[@id='clips']/p[@class='credit']")
    assert words(credit).startswith("An & Other · (c) zzz") and words(credit).endswith("z · CC0")
    assert len(words(credit)) < 400 and "made by a program" not in page


def test_long_sound_is_cut(wave: Wave) -> None:
    sound = make_sound(np.tile(wave, 5), 1.0)
    assert soundfile.info(io.BytesIO(sound.flac)).frames == 12 * 16000


def test_a_page_without_players_groups_or_failures(evaluation: Evaluation) -> None:
    plain = [
        dataclasses.replace(r, sound=None, group="", failed={})
        for r in evaluation.results
        if r.codec != "opus:6"
    ]
    bare = Evaluation(evaluation.setting, evaluation.codecs[:1], plain, {}, {})
    root = parsed(to_html(bare))
    sections = [section.attrib["id"] for section in root.iter("section")]
    assert sections == ["means", "charts", "files", "codecs"]


def read_png(data: bytes) -> npt.NDArray[np.uint8]:
    """Pixels of a PNG with four bits of grey, by the format's own description."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(
            kind + body
        )
        chunks[kind], at = body, at + 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    columns, rows, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (4, 0)
    packed = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, -1)
    assert not packed[:, 0].any()
    return np.stack([packed[:, 1:] >> 4, packed[:, 1:] & 15], 2).reshape(rows, -1)[:, :columns]


@pytest.mark.parametrize("columns", [1, 6, 7])
def test_png_holds_the_pixels(columns: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 16, (5, columns)).astype(np.uint8)
    assert np.array_equal(read_png(grey_png(pixels)), pixels)


def test_a_tone_is_a_line_at_its_height() -> None:
    tone = np.sin(2 * np.pi * 3000 * np.arange(16000) / 16000).astype(np.float32)
    pixels = read_png(spectrogram_png(tone, 128.0))
    assert pixels.shape == (128, 81)
    darkest = pixels[:, 10:70].argmin(axis=0)
    assert set(darkest.tolist()) <= {79, 80}  # 3000 of 8000 Hz, counted from below
    assert pixels[:, 40].min() == 0
    assert (pixels[:60, 10:70] == 15).all()


_PROBE = """
window.addEventListener("load", async () => {
  const players = Array.from(document.querySelectorAll("audio"));
  await Promise.all(players.map((p) => p.readyState ? 0 :
    new Promise((done) => { p.onloadedmetadata = p.onerror = done; })));
  const names = () => Array.from(document.querySelectorAll("#files tbody tr"))
    .filter((r) => !r.hidden).map((r) => r.cells[3].textContent).join(" ");
  const result = { images: Array.from(document.images).map((i) => i.naturalWidth).join(" "),
    seconds: players.map((p) => p.duration.toFixed(2)).join(" ") };
  const head = document.querySelectorAll("#files th button")[3];
  head.click(); result.ascending = names();
  head.click(); result.descending = names();
  const choice = document.querySelector("#files select");
  choice.value = "lite"; choice.dispatchEvent(new Event("change")); result.lite = names();
  choice.value = ""; choice.dispatchEvent(new Event("change"));
  result.players = Math.min(...players.map((p) => p.getBoundingClientRect().width));
  const table = document.querySelector("#files .scroll");
  result.scrolls = table.scrollWidth > table.clientWidth;
  result.shade = getComputedStyle(table).backgroundAttachment;
  const files = Array.from(document.querySelectorAll("#files tbody td:first-child"));
  result.cut = files.filter((n) => n.scrollWidth > n.clientWidth).length;
  result.wide = document.documentElement.scrollWidth - window.innerWidth;
  document.title = JSON.stringify(result);
});
"""


@pytest.fixture
def probed(evaluation: Evaluation, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What a script reads from the page, in Chromium with a narrow window."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    page = tmp_path / "report.html"
    probe = f"<script>{_PROBE}</script></body>"
    page.write_text(to_html(evaluation).replace("</body>", probe), encoding="utf-8")
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
        *("--window-size=500,900", "--virtual-time-budget=10000"),
        *(f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title, done.stderr
    yield json.loads(html.unescape(title[1]))


def test_the_page_works_in_a_browser(probed: dict[str, str]) -> None:
    assert probed["images"] == " ".join(["241"] * 6)
    assert probed["seconds"] == " ".join(["3.00"] * 6)
    assert probed["ascending"] == "1.00 1.00 1.14 1.14 1.29 1.43 1.43 failed"
    assert probed["descending"] == "1.43 1.43 1.29 1.14 1.14 1.00 1.00 failed"
    assert probed["lite"] == "1.43 1.14 1.00 failed"
    assert int(probed["wide"]) <= 0
    assert float(probed["players"]) >= 300
    assert probed["scrolls"] and probed["shade"].startswith("local, local, scroll, scroll")
    assert not probed["cut"]
