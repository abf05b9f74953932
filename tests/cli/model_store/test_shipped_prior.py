"""The priors that ship: for which models, how large, and what they are worth on real speech."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import bcdc
from bigcodec_cli.model_store.headers import geometries_of
from bigcodec_cli.model_store.priors import prior_for_model, prior_of_container
from bigcodec_models.codec import read_model
from bigcodec_models.config import F0_MODES
from bigcodec_models.registry import find_builtin

GOLDEN = Path(__file__).parent / "golden"
LARGEST = {"predicted": 12.0, "coded": 13.0}
"""Bits a frame with all bytes of the file; raw are 13 and 21."""
every_mode = pytest.mark.parametrize("f0", F0_MODES)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGCODEC_HOME", str(tmp_path))


def test_the_default_model_has_a_prior_of_a_few_megabytes_for_each_of_its_geometries() -> None:
    model = find_builtin("lite")
    assert model is not None
    for geometry in geometries_of(read_model("lite").config):
        prior = prior_for_model(model.fingerprint, geometry)
        assert prior is not None
        assert prior.geometry.layout == geometry.layout
        folder = model.path.parent / "priors"
        (path,) = folder.glob(f"{model.fingerprint[:6].hex()}-*-{prior.name.hex()}.bcdp")
        assert path.stat().st_size < 4e6


@every_mode
def test_speech_coded_with_it_reads_back_and_is_far_smaller(f0: str) -> None:
    """The container of examples/speech.flac, made when the prior was new; the tokens are listed,
    for those that the encoder makes may differ from machine to machine."""
    listed = np.array(json.loads((GOLDEN / f"speech-{f0}.json").read_text()), dtype=np.int32)
    container = bcdc.read((GOLDEN / f"speech-{f0}.bcdc").read_bytes())
    assert container.header.coder is bcdc.Coder.PRIOR
    prior = prior_of_container(container)
    tokens = container.tokens(prior=prior)
    assert np.array_equal(tokens[0], listed.reshape(len(listed), -1))
    assert container.size < LARGEST[f0] * len(listed) / 8


@every_mode
def test_the_same_tokens_give_the_same_bytes(tmp_path: Path, f0: str) -> None:
    data = (GOLDEN / f"speech-{f0}.bcdc").read_bytes()
    container = bcdc.read(data)
    prior = prior_of_container(container)
    with (tmp_path / "new").open("wb") as file:
        header = bcdc.Header(
            fingerprint=container.header.fingerprint,
            sample_rate=container.header.sample_rate,
            geometry=container.header.geometry,
        )
        with bcdc.Writer(file, bcdc.header_for(header, None, prior), prior) as writer:
            writer.write(container.tokens(prior=prior))
            writer.finish(container.num_samples)
    assert (tmp_path / "new").read_bytes() == data
