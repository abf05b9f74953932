"""Every named file gives what the table in README.md says of it, by library and by command."""

from __future__ import annotations

import pickle
import re
import resource
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

import bcdc
from bigcodec_models.checkpoints.fingerprint import fingerprint
from bigcodec_models.codec import read_model
from bigcodec_models.errors import ModelFileError

HERE = Path(__file__).parent
SHIPPED = (HERE.parent.parent / "models/bigcodec_models/weights/priors").glob("*.bcdp")
PRIORS = [bcdc.read_prior(path.read_bytes()) for path in (HERE / "good-prior.bcdp", *SHIPPED)]
SUFFIXES = {".bcdc", ".bcdp", ".safetensors", ".pt"}
ROWS = dict(re.findall(r"^\| `(.*?)` \| (.*?) \|", (HERE / "README.md").read_text("utf-8"), re.M))
TRACE = "loaded-code-ran"
IMPOSSIBLE = {
    f"bad-{what}.bcdc"
    for what in (
        "padding",
        "stands-for-nothing",
        "place-of-no-code",
        "prior-of-another-model",
        "token-outside-codebook",
    )
}
"""Noticed only when decoded, as `test` does; `info` verifies checksums and structure."""

Run = Callable[..., subprocess.CompletedProcess[str]]


def of_kind(*suffixes: str) -> list[str]:
    return [name for name in ROWS if Path(name).suffix in suffixes]


def test_the_table_lists_exactly_the_files() -> None:
    files = {path.name for path in HERE.iterdir() if path.suffix in SUFFIXES}
    assert files == set(ROWS) and len(files) > 90
    others = {path.name for path in HERE.iterdir() if path.suffix not in {*SUFFIXES, ".py"}}
    assert others <= {"README.md", "__pycache__"}


def test_the_generator_makes_the_committed_files(tmp_path: Path) -> None:
    subprocess.run([sys.executable, HERE / "make_vectors.py", tmp_path], check=True)
    assert {path.name for path in tmp_path.iterdir()} == {*ROWS, "README.md"}
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (HERE / path.name).read_bytes(), path.name


def tokens_of(data: bytes) -> str:
    container = bcdc.read(data)
    priors = {prior.name: prior for prior in PRIORS}
    tokens = container.tokens(prior=priors.get(container.header.prior_fingerprint or b""))
    shape = " x ".join(map(str, tokens.shape))
    return f"tokens {shape}, CRC-32 {zlib.crc32(tokens.astype('<i4').tobytes()):08x}"


@pytest.mark.parametrize("name", of_kind(".bcdc"))
def test_containers(name: str) -> None:
    data = (HERE / name).read_bytes()
    if name.startswith("good-"):
        assert tokens_of(data) == ROWS[name]
        return
    with pytest.raises(bcdc.BcdcError) as caught:
        tokens_of(data)
    assert type(caught.value).__name__ == ROWS[name]


@pytest.mark.parametrize("name", of_kind(".bcdp"))
def test_priors(name: str) -> None:
    data = (HERE / name).read_bytes()
    if name.startswith("good-"):
        assert ROWS[name] == "prior" and bcdc.read_prior(data).name
        return
    with pytest.raises(bcdc.PriorError):
        bcdc.read_prior(data)
    assert ROWS[name] == "PriorError"


@pytest.mark.parametrize("name", of_kind(".safetensors", ".pt"))
def test_model_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if name.startswith("good-"):
        digest = fingerprint(read_model(HERE / name).tensors).hex()
        assert ROWS[name] == f"fingerprint {digest[:12]}"
        return
    with pytest.raises(ModelFileError, match=re.escape(name)) as caught:
        read_model(HERE / name)
    assert ROWS[name] == "ModelFileError" and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_model_that_declares_too_much_is_refused_where_memory_is_short() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + (4 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        with pytest.raises(ModelFileError, match="does not fit into memory"):
            read_model(HERE / "bad-config-huge.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", ["bad-code.pt", "bad-code-first.pt", "bad-code-old.pt"])
def test_the_hostile_pickles_run_code_in_pickle(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise refusing them would show nothing."""
    monkeypatch.chdir(tmp_path)
    content = (HERE / name).read_bytes()
    if zipfile.is_zipfile(HERE / name):
        content = zipfile.ZipFile(HERE / name).read("archive/data.pkl")
    pickle.loads(content)
    assert [path.name for path in tmp_path.iterdir()] == [TRACE]


@pytest.fixture
def prior_at_hand(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "priors"
    folder.mkdir(parents=True)
    (folder / "mine.bcdp").write_bytes((HERE / "good-prior.bcdp").read_bytes())


@pytest.mark.usefixtures("prior_at_hand")
@pytest.mark.parametrize("command", ["test", "info"])
def test_commands_print_one_line_for_each_bad_file(bigcodec: Run, command: str) -> None:
    bad = [name for name in of_kind(".bcdc") if not name.startswith("good-")]
    passed = {"unsupported-missing-prior.bcdc"} | (IMPOSSIBLE if command == "info" else set())
    result = bigcodec(command, *[HERE / name for name in bad])
    assert result.returncode == 1 and "Traceback" not in result.stderr
    failed = [name for name in bad if name not in passed]
    lines = re.findall(r"^bigcodec: (\S+): .+$", result.stderr, re.M)
    assert lines == [str(HERE / name) for name in failed]
    assert result.stderr.count("\n") == len(failed) + (command == "test")  # and the summary
    assert all(str(HERE / name) in result.stdout for name in passed)


@pytest.mark.usefixtures("prior_at_hand")
def test_good_files_pass_the_test_command(bigcodec: Run) -> None:
    good = [HERE / name for name in of_kind(".bcdc") if name.startswith("good-")]
    result = bigcodec("test", *good)
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout.count(": ok (checksums and tokens") == len(good)


def test_a_hostile_model_is_not_imported(bigcodec: Run, tmp_path: Path) -> None:
    file = HERE / "bad-code.pt"
    result = bigcodec("models", "import", file)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"bigcodec: {file}: not a usable BigCodec checkpoint: ")
    assert list(tmp_path.iterdir()) == []
