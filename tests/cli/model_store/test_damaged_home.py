"""A damaged store costs what it held and no more, and models are what they are named after."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.containers import open_container
from bigcodec_cli.model_store.priors import prior_of_container
from bigcodec_cli.model_store.store import all_models, find_model, set_aside
from bigcodec_models import Codec, ModelFileError, codec
from bigcodec_models.checkpoints.model_file import ModelInfo, load_model, save_model
from bigcodec_models.registry import find_builtin

Run = Callable[..., subprocess.CompletedProcess[str]]
VECTORS = Path(__file__).parents[2] / "vectors"
DAMAGED = [
    b"",
    b"[]",
    b"3",
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    b"\0" * 300,
    b'"lite-5"',
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def clip(tmp_path: Path, speech: Path) -> Path:
    path = tmp_path / "a.flac"
    path.write_bytes(speech.read_bytes())
    return path


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.parametrize("name", ["models.json", "settings.json"])
def test_a_damaged_file_is_set_aside_once(
    in_process: Run, home: Path, name: str, content: bytes
) -> None:
    (home / name).write_bytes(content)
    first, second = in_process("models", "list"), in_process("models", "list")
    assert first.returncode == second.returncode == 0
    assert "lite-5" in first.stdout and first.stdout == second.stdout
    assert first.stderr.count("\n") == 1 and f"it is now {name}.damaged-1" in first.stderr
    assert second.stderr == ""
    assert (home / f"{name}.damaged-1").read_bytes() == content


def test_a_folder_in_place_of_the_index_is_set_aside(in_process: Run, home: Path) -> None:
    (home / "models.json").mkdir()
    result = in_process("models", "list")
    assert result.returncode == 0 and "it is now models.json.damaged-1" in result.stderr


def test_nothing_set_aside_is_overwritten(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("one", "two"):
        (home / "x").write_text(text)
        set_aside(home / "x", "a reason")
    assert [(home / f"x.damaged-{n}").read_text() for n in (1, 2)] == ["one", "two"]
    assert "a reason" in capsys.readouterr().err


ROW = {"fingerprint": "00" * 32, "digest": "00" * 32, "license": "MIT", "summary": "mine"}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("../../escaped", ROW),
        ("/etc/passwd", ROW),
        (".hidden", ROW),
        ("", ROW),
        ("a\n", ROW),
        ("lite-5", ROW),
        ("mine", None),
        ("mine", "text"),
        ("mine", {**ROW, "fingerprint": 3}),
        ("mine", {**ROW, "fingerprint": "00"}),
        ("mine", {**ROW, "digest": "zz" * 32}),
        ("mine", {**ROW, "license": ["MIT"]}),
        ("mine", {key: ROW[key] for key in ("fingerprint", "license", "summary")}),
    ],
)
def test_wrong_entries_are_left_out(
    in_process: Run, home: Path, toy_model: Path, name: str, row: object
) -> None:
    (home.parent / "escaped.safetensors").write_bytes(toy_model.read_bytes())
    (home / "models.json").write_text(json.dumps({name: row, "right": ROW}))
    result = in_process("models", "list")
    assert result.returncode == 0 and result.stderr.count("\n") == 1
    assert "is damaged and left out" in result.stderr
    assert [entry.name for entry in all_models()][-1] == "right"
    assert len([line for line in result.stdout.splitlines() if "lite-5" in line]) == 1
    assert find_model(name) is None or name == "lite-5"


@pytest.mark.parametrize("default", ["../../escaped", "gone", 3, None, ["lite"]])
def test_a_default_that_is_no_model_is_refused(
    in_process: Run, home: Path, toy_model: Path, default: object
) -> None:
    for folder in (home.parent.parent, home.parent):  # in_process runs in the latter
        (folder / "gone").write_bytes(toy_model.read_bytes())
    (home / "settings.json").write_text(json.dumps({"default": default}))
    assert in_process("models", "list").returncode == 0
    result = in_process("compress", "a.wav")
    assert result.returncode == 1 and "the default model" in result.stderr
    assert result.stderr.count("\n") == 1
    assert in_process("models", "default", "lite").returncode == 0
    assert in_process("models", "default").stdout == "lite\n"


def test_compress_and_decompress_work_in_a_damaged_home(bigcodec: Run, home: Path) -> None:
    for name in ("models.json", "settings.json"):
        (home / name).write_bytes(b"")
    speech = Path(__file__).parents[3] / "examples" / "speech.flac"
    result = bigcodec("compress", speech, "-o", "a.bcdc", "--model", "lite")
    assert result.returncode == 0, result.stderr
    (home / "models.json").write_text("junk")
    result = bigcodec("decompress", "a.bcdc", "-o", "a.wav")
    assert result.returncode == 0 and result.stderr.count("damaged") == 2


@pytest.mark.parametrize("junk", [b"", b"junk", b"BCDP" + bytes(90)])
def test_a_junk_prior_is_set_aside(in_process: Run, home: Path, clip: Path, junk: bytes) -> None:
    model = find_builtin("lite")
    assert model is not None
    named = f"{model.fingerprint[:6].hex()}-9-0123456789ab.bcdp"
    (home / "priors").mkdir()
    for name in (named, "other.bcdp"):
        (home / "priors" / name).write_bytes(junk)
    result = in_process("compress", clip.name, "-v")
    assert result.returncode == 0 and f"it is now {named}.damaged-1" in result.stderr
    info = json.loads(in_process("info", "a.bcdc", "--json").stdout)
    assert info["coder"] == "prior"
    assert in_process("decompress", "a.bcdc").returncode == 0


def test_a_prior_under_another_name_is_not_taken_for_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The good prior's file has the name that a container asks for; it is another prior."""
    monkeypatch.setenv("BIGCODEC_HOME", str(home))
    container = open_container(VECTORS / "good-shipped-prior-predicted.bcdc")
    needed = prior_of_container(container)
    assert needed is not None
    name = f"{container.header.fingerprint.hex()}-9-{needed.name.hex()}.bcdp"
    (home / "priors").mkdir()
    (home / "priors" / name).write_bytes((VECTORS / "good-prior.bcdp").read_bytes())
    prior = prior_of_container(container)
    assert prior is not None and prior.name == needed.name
    missing = open_container(VECTORS / "unsupported-missing-prior.bcdc")
    fingerprint = missing.header.prior_fingerprint
    assert fingerprint is not None
    name = f"{missing.header.fingerprint.hex()}-1-{fingerprint.hex()}.bcdp"
    (home / "priors" / name).write_bytes((VECTORS / "good-prior.bcdp").read_bytes())
    with pytest.raises(CliError, match="which is not at hand"):
        prior_of_container(missing)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_flipped_bit_in_a_stored_model_is_refused(
    in_process: Run, home: Path, toy_model: Path, clip: Path
) -> None:
    assert in_process("models", "import", toy_model, "--name", "mine").returncode == 0
    path = home / "mine.safetensors"
    whole = path.read_bytes()
    for data in (_flipped(whole, len(whole) - 4), whole.replace(b"CC0-1.0", b"CC1-1.0")):
        path.write_bytes(data)
        for command in (["compress", clip.name, "--rm", "--model"], ["models", "show"]):
            result = in_process(*command, "mine")
            assert result.returncode == 1 and result.stderr.count("\n") == 1
            assert f"{path}: is damaged, or not the model" in result.stderr
    assert clip.exists() and not (clip.parent / "a.bcdc").exists()
    assert in_process("models", "import", toy_model, "--name", "mine").returncode == 0
    assert in_process("models", "show", "mine").returncode == 0


def test_another_model_under_a_name_is_refused(
    in_process: Run, home: Path, toy_model: Path, f0_model: Path, clip: Path
) -> None:
    assert in_process("models", "import", toy_model, "--name", "mine").returncode == 0
    assert in_process("compress", clip.name, "--model", "mine").returncode == 0
    (home / "mine.safetensors").write_bytes(f0_model.read_bytes())
    result = in_process("decompress", "a.bcdc")
    assert result.returncode == 1 and "not the model that was stored" in result.stderr
    assert not (clip.parent / "a.wav").exists()


def test_every_bit_of_a_model_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shipped models are refused too; this one is small, so that many bits can be tried."""
    path = tmp_path / "tiny.safetensors"
    model = load_model(VECTORS / "good-tiny.safetensors")
    info = ModelInfo(name="tiny", license="MIT", training={"steps": 3})
    save_model(path, model.tensors, model.config, info)
    whole = path.read_bytes()
    builtin = find_builtin("lite")
    assert builtin is not None
    tiny = dataclasses.replace(builtin, path=path, digest=load_model(path).digest)
    monkeypatch.setattr(codec, "find_builtin", lambda name: tiny)
    Codec.load("lite")
    accepted = []
    for at in range(8, len(whole)):
        path.write_bytes(_flipped(whole, at))
        try:
            codec.read_model("lite")
        except ModelFileError:
            continue
        accepted.append(at)
    assert all(whole[at : at + 1] == b" " for at in accepted), accepted


def test_only_a_model_that_decompress_finds_removes_sources(
    in_process: Run, toy_model: Path, clip: Path
) -> None:
    result = in_process("compress", clip.name, "--rm", "--model", toy_model)
    assert result.returncode == 1 and clip.exists()
    assert "decompress would not find the model" in result.stderr
    assert in_process("models", "import", toy_model, "--name", "mine").returncode == 0
    assert in_process("compress", clip.name, "--rm", "--model", toy_model).returncode == 0
    assert not clip.exists() and in_process("decompress", "a.bcdc").returncode == 0


def test_the_same_weights_with_another_configuration_are_not_imported(
    in_process: Run, tmp_path: Path, f0_model: Path
) -> None:
    model = load_model(f0_model)
    quantizer = dataclasses.replace(model.config.quantizer, commitment=0.3)
    other = dataclasses.replace(model.config, quantizer=quantizer)
    save_model(tmp_path / "o.safetensors", model.tensors, other, model.info)
    assert in_process("models", "import", f0_model, "--name", "mine").returncode == 0
    result = in_process("models", "import", "o.safetensors", "--name", "other")
    assert result.returncode == 1 and "the weights of mine with another config" in result.stderr


def test_control_characters_of_model_files_are_made_visible(
    in_process: Run, tmp_path: Path, toy_model: Path
) -> None:
    evil = "\x1b]0;owned\x07\x9b31m\r\u202e"
    model = load_model(toy_model)
    info = ModelInfo(name="evil", license=evil, training={evil: evil})
    path = tmp_path / f"{evil}.safetensors"
    save_model(path, model.tensors, model.config, info)
    for command in (
        ["models", "import", path, "--name", "evil"],
        ["models", "list"],
        ["models", "show", "evil"],
    ):
        result = in_process(*command)
        assert result.returncode == 0
        shown = result.stdout + result.stderr
        assert not set(shown) & {"\x1b", "\x07", "\x9b", "\r", "\u202e"}
    assert "license      \\x1b]0;owned\\x07" in shown


def test_control_characters_in_the_name_of_a_model_that_is_evaluated(
    in_process: Run, tmp_path: Path, toy_model: Path, clip: Path
) -> None:
    (tmp_path / "clips").mkdir()
    clip.rename(tmp_path / "clips" / clip.name)
    path = tmp_path / "e\x1b[31m\x9b.safetensors"
    path.write_bytes(toy_model.read_bytes())
    result = in_process("eval", "clips", "--model", path, "--metrics", "mel")
    assert result.returncode == 0, result.stderr
    assert "e\\x1b[31m\\x9b" in result.stdout
    assert not set(result.stdout + result.stderr) & {"\x1b", "\x9b"}
