"""`compress --ray` on a real cluster of two nodes, both on this machine: as a plain run does it."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc
from bigcodec_cli import __version__
from bigcodec_cli.cluster.ray_worker import JobSpec, Worker
from bigcodec_cli.coding.config import CompressConfig
from bigcodec_cli.files.batch import OutputOptions

Run = Callable[..., subprocess.CompletedProcess[str]]
Here = Callable[..., Any]
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed"
)
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
CLUSTER = """
import random, socket, sys
from ray.cluster_utils import Cluster
while True:  # below the ports that the system gives out, to Ray's own processes among others
    port = random.randrange(24001, 32000)
    with socket.socket() as server:
        if server.connect_ex(("127.0.0.1", port)):
            break
node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 << 20}
cluster = Cluster(initialize_head=True, head_node_args={**node, "ray_client_server_port": port})
cluster.add_node(**node)
host = cluster.address.rpartition(":")[0]
print(f"{cluster.address} ray://{host}:{port}", flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, str]]:
    """Both addresses of a cluster of two nodes with a CPU each. It is in a process of its own, as
    this one takes warnings for errors, and Ray has some."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env={**os.environ, **QUIET},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    address, client = next(line.split() for line in process.stdout if "ray://" in line)
    yield address, client
    process.communicate(timeout=60)


@pytest.fixture
def clips(tmp_path: Path, speech: Path) -> Path:
    """Speech in files of several kinds, one of them damaged, with a name that is no UTF-8."""
    samples, rate = soundfile.read(speech, dtype="int16")
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for index in range(5):
        clip = samples[9000 * index :][: 8000 * (1 + index)]
        soundfile.write(tmp_path / "in" / "deep" / f"{index}.wav", clip, rate)
    both = np.stack([samples, samples[::-1]], 1)
    soundfile.write(os.fsencode(tmp_path / "in") + b"/\xff\n.flac", both, rate)
    (tmp_path / "in" / "bad.wav").write_bytes(b"RIFF" + bytes(40))
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def untimed(text: str) -> str:
    """Rows of JSON or messages, without the time that a batch took."""
    return re.sub(r'"elapsed": [0-9.]+|[0-9.]+x real time', "", text)


@needs_ray
def test_a_cluster_gives_the_bytes_of_a_plain_run(
    bigcodec: Run, here: Here, clips: Path, f0_model: Path, cluster: tuple[str, str]
) -> None:
    """And its messages, but for the order of those printed on the way; with options that workers
    must be given."""
    for folder in ("plain", "ray"):
        (clips / folder / "deep").mkdir(parents=True)
        (clips / folder / "deep" / "1.bcdc").write_bytes(b"to be replaced")
    options = ["compress", "-r", "in", "--json", "-v", "-f", "--model", f0_model, "--f0", "coded"]
    options += ["--output-dir"]
    plain = here(*options, "plain")
    ran = bigcodec(*options, "ray", "--ray", cluster[0], **QUIET)
    assert plain.code == ran.returncode == 1, ran.stderr
    assert untimed(ran.stdout.replace('"ray/', '"plain/')) == untimed(plain.stdout.decode())
    messages = [sorted(untimed(each.stderr).splitlines()) for each in (ran, plain)]
    assert messages[0] == messages[1]
    assert "bigcodec: in/bad.wav: cannot be read as audio" in ran.stderr
    assert ran.stderr.endswith("1 of 7 files failed:\nbigcodec:   in/bad.wav\n")
    assert contents(clips / "ray") == contents(clips / "plain")
    coded = contents(clips / "ray").values()
    assert len(coded) == 6 and all(bcdc.read(data).header.geometry.f0 for data in coded)


@needs_ray
def test_a_cluster_of_this_machine(bigcodec: Run, clips: Path, toy_model: Path) -> None:
    """With a model of the user's; inputs are removed but for the one that is skipped."""
    (clips / "out").mkdir()
    (clips / "out" / "1.bcdc").write_bytes(b"mine")
    options = ["-r", "in/deep", "--model", toy_model, "--output-dir", "out", "--json"]
    env = {**QUIET, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(clips / "token")}
    (clips / "token").write_text("0123456789abcdef" * 4)
    assert bigcodec("models", "import", toy_model).returncode == 0
    ran = bigcodec("compress", *options, "--ray", "local", "--skip-existing", "--rm", **env)
    assert ran.returncode == 0, ran.stderr
    rows = [json.loads(line)["status"] for line in ran.stdout.splitlines()[:-1]]
    assert rows == ["ok", "skipped", "ok", "ok", "ok"]
    assert [path.name for path in (clips / "in" / "deep").iterdir()] == ["1.wav"]
    assert (clips / "out" / "1.bcdc").read_bytes() == b"mine"
    assert len(list((clips / "out").iterdir())) == 5


@needs_ray
def test_ctrl_c_leaves_nothing_unfinished(
    tmp_path: Path, cluster: tuple[str, str], speech: Path
) -> None:
    samples, rate = soundfile.read(speech, dtype="int16")
    (tmp_path / "long").mkdir()
    for name in "ab":
        soundfile.write(tmp_path / "long" / f"{name}.wav", np.tile(samples, 50), rate)
    command = [str(Path(sys.executable).with_name("bigcodec")), "compress", "-q", "-r", "long"]
    process = subprocess.Popen(
        [*command, "--output-dir", "out", "--ray", cluster[0]],
        cwd=tmp_path,
        env={**os.environ, **QUIET},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 200
        while not list(tmp_path.glob("out/.*.tmp")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert stderr.strip() == "bigcodec: interrupted"
    assert list((tmp_path / "out").iterdir()) == []


@needs_ray
def test_a_client_outside_the_cluster(
    bigcodec: Run, here: Here, tmp_path: Path, cluster: tuple[str, str], speech: Path
) -> None:
    """Tried again if Ray refuses: CI once lost a command of a client and did not say why."""
    command = ["compress", speech, "--output-dir", "out", "-f"]
    for attempt in range(3):
        ran = bigcodec(*command, "--ray", cluster[1], **QUIET)
        if not ran.stderr.startswith("bigcodec: --ray ") or attempt == 2:
            break
    assert ran.returncode == 0, ran.stderr
    through_client = (tmp_path / "out" / "speech.bcdc").read_bytes()
    assert here(*command).code == 0
    assert (tmp_path / "out" / "speech.bcdc").read_bytes() == through_client


@needs_ray
def test_a_cluster_that_is_not_there(here: Here, speech: Path) -> None:
    ran = here("compress", speech, "--output-dir", "out", "--ray", "127.0.0.1:1", "-q")
    assert ran.code == 1
    assert ran.stderr == "bigcodec: --ray 127.0.0.1:1: cannot be reached: Connection refused\n"


def test_without_ray_it_is_said_how_to_get_it(
    here: Here, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "ray.data", raising=False)
    ran = here("compress", speech, "--output-dir", "out", "--ray", "auto")
    assert ran.code == 1
    assert ran.stderr.splitlines() == [
        "bigcodec: --ray: Ray is not installed; pip install 'bigcodec-cli[ray]'"
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-"], "'-' (stdin, stdout) goes without it"),
        (["a.wav", "-o", "-"], "'-' (stdin, stdout) goes without it"),
        (["a.wav", "-o", "a.bcdc"], "-o names one"),
        (["a.wav", "--raw", "--rate", "8000"], "takes no --raw input"),
        (["a.wav", "--device", "cuda:1"], "--device cuda:1: Ray says which"),
        (["a.wav", "--ray", "somewhere"], "'somewhere' is not one of local, auto, HOST:PORT"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused(here: Here, options: list[str], words: str) -> None:
    ran = here("compress", "--ray", "local", *options)
    assert ran.code == 2 and words in ran.stderr


def test_a_worker_with_another_model_refuses_to_work(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    """`here` restores what a worker changes in its process."""
    spec = JobSpec(
        config=CompressConfig(model=str(toy_model)),
        outputs=OutputOptions(),
        folder=str(tmp_path),
        home=str(tmp_path / "home"),
        versions=(__version__, bytes(32), None),
    )
    reports = Worker(spec)({"job": []})["report"]
    assert len(reports) == 1
    assert json.loads(reports[0])["fault"].endswith(
        ": it has another model than the machine of this command"
    )
    lost = Worker(dataclasses.replace(spec, folder=str(tmp_path / "none")))({"job": []})["report"]
    assert json.loads(lost[0])["fault"].endswith(
        "none: not on this machine: No such file or directory"
    )
