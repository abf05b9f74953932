"""`bigcodec models pull` against a stand-in for the hub on this machine."""

from __future__ import annotations

import hashlib
import http.server
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILE_URL = "/Alethia/BigCodec/resolve/main/bigcodec.pt"


class Hub(http.server.ThreadingHTTPServer):
    """Serves one checkpoint as the hub does, and declares `sha256` for it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        size = len(self.server.content)
        lfs = {"oid": self.server.sha256, "size": size, "pointerSize": 134}
        entry = {"type": "file", "path": "bigcodec.pt", "oid": COMMIT, "size": size, "lfs": lfs}
        self._answer(json.dumps([entry]).encode(), {"Content-Type": "application/json"})

    def do_GET(self) -> None:
        if self.path.split("?")[0] not in (FILE_URL, FILE_URL.replace("main", COMMIT)):
            self.send_error(404)
            return
        self._answer(
            self.server.content,
            {"ETag": f'"{self.server.sha256}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"},
        )

    do_HEAD = do_GET


@pytest.fixture
def hub(golden: Path) -> Iterator[Hub]:
    server = Hub((golden / "golden_release.pt").read_bytes())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_published_model_is_fetched_checked_and_kept(
    bigcodec: Run, tmp_path: Path, hub: Hub
) -> None:
    result = bigcodec("models", "pull", "bigcodec", HF_ENDPOINT=hub.url)
    assert result.returncode == 0, result.stderr
    facts = json.loads(bigcodec("models", "show", "bigcodec", "--json").stdout)
    assert facts["training"]["source"] == "https://huggingface.co/Alethia/BigCodec/bigcodec.pt"
    assert facts["config"]["encoder_strides"] == [2, 4, 5, 5]
    assert facts["training"]["revision"] == COMMIT
    left = sorted(p.name for p in (tmp_path / "home").iterdir())
    assert left == [".lock", "bigcodec.safetensors", "models.json"]


def test_a_file_that_is_not_what_the_hub_declares_is_refused(
    bigcodec: Run, tmp_path: Path, hub: Hub
) -> None:
    hub.sha256 = "0" * 64
    result = bigcodec("models", "pull", "bigcodec", HF_ENDPOINT=hub.url)
    assert result.returncode == 1
    assert "does not have the SHA-256 the hub declares" in result.stderr
    assert list((tmp_path / "home").iterdir()) == []


def test_no_network_is_said_in_one_line(bigcodec: Run, hub: Hub) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as unused:
        closed = f"http://127.0.0.1:{unused.server_port}"
    result = bigcodec("models", "pull", "bigcodec", HF_ENDPOINT=closed)
    assert result.returncode == 1
    assert "cannot fetch bigcodec.pt from Alethia/BigCodec" in result.stderr
    assert "Traceback" not in result.stderr and result.stderr.count("\n") == 1


def test_an_unknown_model_names_the_known_ones(bigcodec: Run) -> None:
    result = bigcodec("models", "pull", "nothing")
    assert result.returncode == 1
    assert "there is: bigcodec" in result.stderr
