"""`bigcodec train-prior`, and how priors are kept and found."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

import bcdc
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.model_store.headers import geometries_of, geometry_of
from bigcodec_cli.model_store.priors import prior_for_model, prior_of_container, store_prior
from bigcodec_models.codec import Codec

SHORT = ["--epochs", "1", "--width", "8"]


@pytest.fixture
def folder(tmp_path: Path, speech: Path) -> Path:
    """Four clips of a second and a half of real speech."""
    samples, rate = soundfile.read(speech)
    (tmp_path / "clips").mkdir()
    for k in range(4):
        piece = samples[k * 20000 : k * 20000 + 24000]
        soundfile.write(tmp_path / "clips" / f"{k}.wav", piece, rate)
    return tmp_path / "clips"


def coded(prior: bcdc.Prior) -> bytes:
    """A container of twenty frames coded with a prior."""
    header = bcdc.Header(fingerprint=prior.model, sample_rate=16000, geometry=prior.geometry)
    named = bcdc.header_for(header, bcdc.Coder.PRIOR, prior)
    tokens = np.zeros((1, 20, prior.geometry.codebooks), np.int32)
    return bcdc.write(named, tokens, 20 * prior.geometry.hop, prior)


def test_a_prior_is_fitted_installed_and_found(  # type: ignore[no-untyped-def]
    here, toy_model: Path, folder: Path
) -> None:
    enough = ["--epochs", "60", "--width", "64"]
    ran = here("train-prior", "--model", toy_model, "--data", folder, *enough)
    assert ran.code == 0, ran.stderr
    codec = Codec.load(toy_model)
    model, geometry = codec.fingerprint, geometry_of(codec)
    prior = prior_for_model(model, geometry)
    assert prior is not None and prior.model == model[:6]
    assert prior.network.width == 64
    assert f"prior {prior.name.hex()}" in ran.stderr
    assert "held out, bits a token: raw 10.0" in ran.stderr
    assert prior_of_container(bcdc.read(coded(prior))) is prior
    # A second one is used from then on; the first still reads what it wrote.
    other = ["--seed", "1", "--versions", "2", *SHORT, "-o", "other.bcdp"]
    again = here("train-prior", "--model", toy_model, "--data", folder, *other)
    assert again.code == 0, again.stderr
    store_prior(Path("other.bcdp").read_bytes())
    newer = prior_for_model(model, geometry)
    assert newer is not None and newer.name != prior.name
    stored = prior_of_container(bcdc.read(coded(prior)))
    assert stored is not None and stored.name == prior.name


def test_a_prior_worse_than_none_is_not_installed(  # type: ignore[no-untyped-def]
    here, toy_model: Path, folder: Path, tmp_path: Path
) -> None:
    options = ["train-prior", "--model", toy_model, "--data", folder, *SHORT]
    ran = here(*options)
    assert ran.code == 1, ran.stderr
    words = (
        r"the prior is no better than the coder adaptive, (\S+) against (\S+) bits a token: not "
    )
    match = re.search(words, ran.stderr)
    assert match and float(match[1]) >= float(match[2])
    codec = Codec.load(toy_model)
    assert prior_for_model(codec.fingerprint, geometry_of(codec)) is None
    assert not (tmp_path / "home" / "priors").exists()
    written = here(*options, "-o", "x.bcdp")
    assert written.code == 0 and "no better than the coder adaptive" in written.stderr
    assert bcdc.read_prior((tmp_path / "x.bcdp").read_bytes()).model == codec.fingerprint[:6]


def test_files_with_f0_and_without_have_a_prior_each(  # type: ignore[no-untyped-def]
    here, f0_model: Path, folder: Path, tmp_path: Path
) -> None:
    """From one set of weights; whichever is fitted last, either goes on being used for its own."""
    model = ["--model", str(f0_model)]
    codec = Codec.load(f0_model)
    predicted, coded = geometries_of(codec.config)
    choices = {"c": (["--f0", "coded"], coded), "p": ([], predicted)}

    def train(name: str, seed: str) -> bcdc.Prior:
        options, geometry = choices[name]
        output = ["-o", "x.bcdp", "-f", "--seed", seed]
        ran = here("train-prior", "--data", folder, *output, *model, *options, *SHORT)
        assert ran.code == 0, ran.stderr
        store_prior((tmp_path / "x.bcdp").read_bytes())
        prior = prior_for_model(codec.fingerprint, geometry)
        assert prior is not None and prior.geometry.layout == geometry.layout
        assert f"prior {prior.name.hex()}" in ran.stderr
        return prior

    def compress(name: str) -> int:
        options, _ = choices[name]
        output = ["-o", f"{name}.bcdc", "-f", "--coder", "prior"]
        code: int = here("compress", folder / "0.wav", *output, *model, *options).code
        return code

    latest = {"c": train("c", "0")}
    assert compress("c") == 0 and compress("p") == 1
    for name, seed in (("p", "0"), ("c", "1"), ("p", "1")):
        latest[name] = train(name, seed)
        for each, prior in latest.items():
            assert compress(each) == 0
            header = bcdc.read((tmp_path / f"{each}.bcdc").read_bytes()).header
            assert (header.geometry, header.prior_fingerprint) == (choices[each][1], prior.name)
    assert len(list((tmp_path / "home" / "priors").iterdir())) == 4
    assert here("test", "c.bcdc", "p.bcdc").stdout.count(b"ok (checksums and tokens") == 2
    assert here("decompress", "c.bcdc", "p.bcdc", *model, "--output-dir", "out").code == 0


def test_a_mode_that_the_model_does_not_know_is_refused(  # type: ignore[no-untyped-def]
    here, toy_model: Path, folder: Path, tmp_path: Path
) -> None:
    ran = here("train-prior", "--model", toy_model, "--data", folder, "--f0", "coded", *SHORT)
    assert ran.code == 1
    words = f"--f0 coded: the model {toy_model} has no F0 tokens; leave --f0 out"
    assert ran.stderr == f"bigcodec: {words}\n"


def test_a_missing_prior_is_refused_by_name(  # type: ignore[no-untyped-def]
    here, toy_model: Path, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "own.bcdp"
    options = ["--model", toy_model, "--data", folder, *SHORT, "-o", file]
    assert here("train-prior", *options).code == 0
    codec = Codec.load(toy_model)
    assert prior_for_model(codec.fingerprint, geometry_of(codec)) is None
    prior = bcdc.read_prior(file.read_bytes())
    with pytest.raises(CliError, match=f"prior {prior.name.hex()}, which is not at hand"):
        prior_of_container(bcdc.read(coded(prior)))
    (tmp_path / "home" / "priors").mkdir(parents=True)
    (tmp_path / "home" / "priors" / "own.bcdp").write_bytes(file.read_bytes())
    stored = prior_of_container(bcdc.read(coded(prior)))
    assert stored is not None and stored.name == prior.name
    refused = here("train-prior", *options)
    assert refused.code == 1 and "already exists" in refused.stderr


def test_what_needs_no_prior_gets_none(here) -> None:  # type: ignore[no-untyped-def]
    header = bcdc.Header(fingerprint=b"abcdef", sample_rate=16000)
    empty = bcdc.write(header, np.zeros((1, 0, 1), np.int32), 0)
    assert prior_of_container(bcdc.read(empty)) is None
    assert prior_for_model(b"no such model's fingerprint.....", bcdc.Geometry()) is None


def test_a_damaged_prior_is_left_out(  # type: ignore[no-untyped-def]
    here, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CliError, match="cannot be used: not a prior file"):
        store_prior(b"something else")
    place = tmp_path / "home" / "priors" / f"{b'abcdef'.hex()}-1-01020304.bcdp"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"BCDP\x01 and then nothing")
    assert prior_for_model(b"abcdef" + bytes(26), bcdc.Geometry()) is None
    assert f"{place}: damaged (the prior file is damaged: " in capsys.readouterr().err


@pytest.mark.parametrize("make", [False, True])
def test_folders_without_speech_are_refused(  # type: ignore[no-untyped-def]
    here, toy_model: Path, tmp_path: Path, make: bool
) -> None:
    if make:
        (tmp_path / "empty").mkdir()
    ran = here("train-prior", "--model", toy_model, "--data", tmp_path / "empty", *SHORT)
    assert ran.code == 1 and "empty" in ran.stderr
    assert not (tmp_path / "home" / "priors").exists()
