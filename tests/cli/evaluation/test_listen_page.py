"""docs/listen.html: it holds the clips of examples/listen, credits them, and plays in a browser."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[3]
CLIPS = sorted((ROOT / "examples" / "listen").glob("*.flac"))
PAGE = ROOT / "docs" / "listen.html"
CODECS = ("original", "lite-5 F0 predicted", "lite-5 F0 coded", "opus:6", "codec2:1200")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_SOUND = re.compile(r'src="data:audio/flac;base64,([^"]+)"')
_PROBE = """<script>
window.addEventListener("load", async () => {
  const players = Array.from(document.querySelectorAll("audio"));
  await Promise.all(players.map((p) => p.readyState ? 0 :
    new Promise((done) => { p.onloadedmetadata = p.onerror = done; })));
  document.title = JSON.stringify({ seconds: players.map((p) => p.duration),
    faults: players.filter((p) => p.error).length,
    images: Array.from(document.images).filter((i) => !i.naturalWidth).length,
    wide: document.documentElement.scrollWidth - window.innerWidth });
});
</script></body>"""


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_ten_clips_as_each_codec_restores_them(page: str) -> None:
    assert len(CLIPS) == 10
    assert "<p>All 10 files, at most" in page
    captions = [name.strip() for name in re.findall(r"<figcaption>([^<]+)", page)]
    assert captions == list(CODECS) * len(CLIPS)
    sounds = [base64.b64decode(text) for text in _SOUND.findall(page)]
    assert len(sounds) == len(CODECS) * len(CLIPS)
    for number, clip in enumerate(CLIPS):
        samples, rate = soundfile.read(clip, dtype="int16")
        first = len(CODECS) * number
        original, *restored = (
            soundfile.read(io.BytesIO(sound), dtype="int16")[0]
            for sound in sounds[first : first + len(CODECS)]
        )
        assert rate == 16000 and np.array_equal(original, samples)
        assert all(len(wave) == len(samples) for wave in restored)
        assert all(not np.array_equal(wave, samples) for wave in restored)


def test_it_needs_no_other_file_and_stays_small(page: str) -> None:
    addresses = re.findall(r'(?:src|href)="([^"]{0,20})', page)
    assert addresses and all(address.startswith("data:") for address in addresses)
    assert PAGE.stat().st_size < 8e6


def test_every_clip_is_credited(page: str) -> None:
    shown = " ".join(html.unescape(page).split())
    attribution = (ROOT / "examples" / "listen" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for clip in CLIPS:
        with soundfile.SoundFile(clip) as file:
            credit = f"{file.copyright} · {file.license}"
            assert file.title and re.match(r"CC BY 4\.0|Apache-2\.0", file.license)
            assert f"{file.title} <small>{clip.name}" in shown
        assert f'<p class="credit"><small>{credit}</small>' in shown
        assert f"`{clip.name}`" in attribution


def test_it_plays_in_a_browser(page: str, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    probed = tmp_path / "listen.html"
    probed.write_text(page.replace("</body>", _PROBE), encoding="utf-8")
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
        *("--window-size=500,900", "--virtual-time-budget=10000"),
        *(f"--user-data-dir={tmp_path / 'profile'}", probed.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title, done.stderr
    result = json.loads(html.unescape(title[1]))
    seconds = [soundfile.info(clip).duration for clip in CLIPS for _ in CODECS]
    assert result["seconds"] == pytest.approx(seconds, abs=0.01)
    assert (result["faults"], result["images"]) == (0, 0) and result["wide"] <= 0
