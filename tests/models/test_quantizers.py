"""Every kind of quantizer: its mathematics, its training on real speech, its way through a file."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor

import bcdc
from bigcodec_cli.model_store.headers import geometry_of
from bigcodec_models import PRESETS, Codec
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import ModelInfo, load_model, save_model
from bigcodec_models.config import (
    ConfigError,
    LiteConfig,
    QuantizerConfig,
    config_from_dict,
    config_to_dict,
)
from bigcodec_models.data.crops import CropSource, scan
from bigcodec_models.prior import FitConfig, PriorConfig, fit_prior
from bigcodec_models.prior.dataset import code_vectors
from bigcodec_models.quantization.codebooks import Codebook, EMACodebook, FSQCodebook, grid
from bigcodec_models.quantization.quantizer import Quantizer
from bigcodec_models.training.config import recipe_for, with_settings
from bigcodec_models.training.events import Callbacks
from bigcodec_models.training.layout import find_checkpoints
from bigcodec_models.training.trainer import Trainer

QUANTIZERS = {
    "vq": QuantizerConfig(codebook_size=64),
    "ema": QuantizerConfig(codebook_size=64, kind="ema", ema_decay=0.9),
    "ema-unit": QuantizerConfig(
        codebook_size=64, kind="ema", ema_decay=0.9, l2_normalized_codes=True
    ),
    "residual": QuantizerConfig(codebook_size=64, num_codebooks=3),
    "grouped": QuantizerConfig(codebook_size=64, num_codebooks=2, groups=2),
    "grouped-residual-ema": QuantizerConfig(
        codebook_size=64, num_codebooks=4, groups=2, kind="ema", ema_decay=0.9
    ),
    "fsq": QuantizerConfig(kind="fsq", levels=(8, 5, 5, 5)),
    "grouped-fsq": QuantizerConfig(kind="fsq", levels=(8, 8), num_codebooks=2, groups=2),
}
EACH = pytest.mark.parametrize("name", QUANTIZERS)


def model(name: str) -> LiteConfig:
    toy = PRESETS["toy-lite"]
    assert isinstance(toy, LiteConfig)
    return dataclasses.replace(toy, quantizer=QUANTIZERS[name])


SETTINGS: dict[str, object] = {
    "batch_size": 2,
    "max_steps": 4,
    "crops": {"seconds": 0.5},
    "optimizer": {"learning_rate": 2e-3, "final_learning_rate": 2e-3, "warmup_steps": 0},
    "losses": {"mel_windows": [128, 512]},
    "discriminators": {"preset": "none"},
}


@pytest.fixture(scope="module")
def folder(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    wave, _ = soundfile.read(speech, dtype="float32")
    soundfile.write(root / "one.wav", wave, 16000)
    return root


@pytest.fixture(scope="module")
def batch(folder: Path) -> Tensor:
    return torch.from_numpy(CropSource(scan(folder), crop=8000, seed=4).batch(0, 2)).unsqueeze(1)


def trainer(
    name: str, folder: Path, run: Path, replace_dead_codes_every: int = 0, **changes: object
) -> Trainer:
    codebook = {"replace_dead_codes_every": replace_dead_codes_every}
    chosen = with_settings(recipe_for(model(name)), {**SETTINGS, "codebook": codebook, **changes})
    return Trainer(model(name), chosen, CropSource(scan(folder), crop=8000, seed=4), run, "cpu")


@EACH
def test_it_learns_a_fixed_batch_with_many_codes(
    name: str, folder: Path, batch: Tensor, tmp_path: Path
) -> None:
    """The loss falls, codes stay in use, and tokens are all that the decoder needs."""
    run = trainer(name, folder, tmp_path, replace_dead_codes_every=5)
    steps = 50 if QUANTIZERS[name].kind == "fsq" else 25  # a grid comes into use by and by
    losses = [run.train_step(batch) for _ in range(steps)]
    assert losses[-1]["mel"] < 0.85 * losses[0]["mel"]
    network = run.network.eval()
    with torch.no_grad():
        quantized = network(batch).quantized
        assert torch.equal(network.quantizer.encode(network.encoder(batch)), quantized.tokens)
        assert torch.allclose(
            network.quantizer.decode(quantized.tokens), quantized.latent, atol=1e-4
        )
    config = network.config.quantizer
    assert quantized.tokens.shape == (2, 40, config.num_codebooks)
    assert quantized.tokens.dtype == torch.int64
    assert 0 <= int(quantized.tokens.min()) and int(quantized.tokens.max()) < config.codebook_size
    used = [len(column.unique()) for column in quantized.tokens.flatten(0, 1).unbind(1)]
    mel = [float(losses[k]["mel"]) for k in (0, -1)]
    logging.info("%s: mel %.2f to %.2f in %d steps, codes %s", name, *mel, steps, used)
    assert min(used) >= (3 if config.kind == "fsq" else 10)
    assert all(p.grad is not None and p.grad.any() for p in network.quantizer.parameters())


@EACH
def test_runs_with_it_resume_exactly(name: str, folder: Path, tmp_path: Path) -> None:
    for run, steps in (("whole", (4,)), ("cut", (2, 4))):
        for last in steps:
            part = trainer(name, folder, tmp_path / run, max_steps=last, replace_dead_codes_every=3)
            assert part.resume() == (last == 4 and run == "cut")
            part.run(Callbacks())
    folders = [find_checkpoints(tmp_path / run)[-1] for run in ("whole", "cut")]
    for file in ("model", "ema"):
        whole, cut = (load_model(path / f"{file}.safetensors").tensors for path in folders)
        assert whole.keys() == cut.keys()
        for key in whole:
            assert torch.equal(whole[key], cut[key]), key


@EACH
def test_its_tokens_go_through_file_container_and_prior(name: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    config = model(name)
    path = tmp_path / "model.safetensors"
    tensors = CodecNetwork(config).state_dict()
    save_model(path, tensors, config, ModelInfo(name="toy", license="CC0-1.0"))
    codec = Codec.load(path)
    assert codec.config == config
    random = np.random.default_rng(0)
    wave = (0.1 * random.standard_normal(20_000)).astype(np.float32)
    tokens = codec.encode(wave).reshape(100, -1)
    geometry = geometry_of(codec)
    assert geometry.codebook_sizes == (config.quantizer.codebook_size,) * tokens.shape[1]
    header = bcdc.Header(fingerprint=codec.fingerprint[:6], sample_rate=16000, geometry=geometry)
    read = round_trip(header, tokens)
    assert np.array_equal(read, tokens)
    assert np.array_equal(codec.decode(read), codec.decode(tokens))
    codes = code_vectors(load_model(path))
    assert [len(table) for table in codes] == list(geometry.codebook_sizes)
    small = FitConfig(epochs=1, network=PriorConfig(embedding=4, width=8, hidden=8))
    arrays = fit_prior([tokens], [tokens], codes, small).arrays
    shape = bcdc.PriorShape(
        model=codec.fingerprint[:6], geometry=geometry,
        inputs=arrays["embedding"].shape[1], width=8, hidden=8,
    )  # fmt: skip
    prior = bcdc.read_prior(bcdc.write_prior(shape, arrays))
    for coder in bcdc.usable_coders(prior):
        assert np.array_equal(
            round_trip(bcdc.header_for(header, coder, prior), tokens, prior), tokens
        )


def round_trip(
    header: bcdc.Header, tokens: npt.NDArray[np.int64], prior: bcdc.Prior | None = None
) -> npt.NDArray[np.int32]:
    data = bcdc.write(header, tokens[None], len(tokens) * header.geometry.hop, prior)
    decoded: npt.NDArray[np.int32] = bcdc.read(data).tokens(prior=prior)[0]
    return decoded


@EACH
def test_configurations_come_back(name: str) -> None:
    config = model(name)
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


def test_what_is_stored_of_earlier_models_has_not_changed() -> None:
    known = {"codebook_size", "codebook_dim", "num_codebooks", "commitment", "l2_normalized_codes"}
    for preset in PRESETS.values():
        assert config_to_dict(preset)["quantizer"].keys() == known
    assert set(Quantizer(8, QuantizerConfig()).state_dict()) == {
        "codebooks.0.codes",
        *(f"codebooks.0.{side}_proj.{part}" for side in ("in", "out")
          for part in ("weight_g", "weight_v", "bias")),
    }  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "other"},
        {"kind": "fsq"},
        {"kind": "fsq", "levels": (2, 5)},
        {"kind": "fsq", "levels": (256, 256, 3)},
        {"levels": (8, 5)},
        {"groups": 2},
        {"groups": 2, "num_codebooks": 3},
        {"groups": 0},
        {"ema_decay": 1.0},
    ],
)
def test_impossible_quantizers_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        QuantizerConfig(**settings)  # type: ignore[arg-type]


def test_groups_must_divide_the_channels() -> None:
    with pytest.raises(ConfigError, match="multiple of the quantizer's groups"):
        dataclasses.replace(PRESETS["toy"], quantizer=QuantizerConfig(num_codebooks=3, groups=3))


def test_every_stage_has_its_losses_and_comes_near(
    folder: Path, batch: Tensor, tmp_path: Path
) -> None:
    """Residual stages: the loss is the sum over the single stages, and training brings the
    codes of each to its latents: random codes are farther away than zeros would be."""
    run = trainer("residual", folder, tmp_path, replace_dead_codes_every=5)
    for _ in range(20):
        run.train_step(batch)
    quantizer = run.network.quantizer
    with torch.no_grad():
        residual = run.network.encoder(batch).transpose(1, 2)
        quantized = quantizer(residual.transpose(1, 2))
        loss = 0.0
        for index, codebook in enumerate(quantizer.codebooks):
            assert isinstance(codebook, Codebook)
            projected = codebook.in_proj(residual)
            codes = codebook.codes[quantized.tokens[..., index]]
            assert float((codes - projected).norm() / projected.norm()) < 0.6
            loss += 1.25 * float((codes - projected).square().mean())
            residual = residual - codebook.out_proj(codes)
    assert float(quantized.loss) == pytest.approx(loss, rel=1e-4)


def test_a_group_sees_its_channels_only() -> None:
    torch.manual_seed(0)
    quantizer = Quantizer(8, QUANTIZERS["grouped-residual-ema"])
    latent = torch.randn(1, 8, 50)
    other = latent.clone()
    other[:, 4:] = torch.randn(1, 4, 50)
    one, two = quantizer(latent), quantizer(other)
    assert torch.equal(one.tokens[..., :2], two.tokens[..., :2])
    assert torch.equal(one.latent[:, :4], two.latent[:, :4])
    assert not torch.equal(one.tokens[..., 2:], two.tokens[..., 2:])
    assert torch.equal(quantizer.encode(latent), one.tokens)


def test_averages_are_those_of_the_paper() -> None:
    """Against the two recurrences as arXiv 1711.00937 gives them, sums and counts apart."""
    torch.manual_seed(0)
    config = QuantizerConfig(codebook_size=5, codebook_dim=3, kind="ema", ema_decay=0.8)
    codebook = EMACodebook(6, config)
    start = codebook.codes.clone()
    sums, counts = np.zeros((5, 3)), np.zeros(5)
    for _ in range(6):
        target, tokens = torch.randn(2, 7, 3), torch.randint(0, 4, (2, 7))
        codebook.update_ema(target, tokens, lambda x: x)
        for code in range(5):
            assigned = target[tokens == code].double().numpy()
            sums[code] = 0.8 * sums[code] + 0.2 * assigned.sum(axis=0)
            counts[code] = 0.8 * counts[code] + 0.2 * len(assigned)
    assert np.allclose(codebook.counts, counts, atol=1e-5)
    assert np.allclose(codebook.codes[:4], sums[:4] / counts[:4, None], atol=1e-4)
    assert torch.equal(codebook.codes[4], start[4])


def test_averages_of_several_processes_are_those_of_one() -> None:
    """Each process brings its part of the batch; the sums over both are those of the whole."""
    torch.manual_seed(0)
    target, tokens = torch.randn(4, 7, 8), torch.randint(0, 64, (4, 7))
    parts: list[Tensor] = []
    codebook = EMACodebook(6, QUANTIZERS["ema"])
    for half in (slice(0, 2), slice(2, 4)):
        alone = EMACodebook(6, QUANTIZERS["ema"])
        alone.update_ema(target[half], tokens[half], lambda x: parts.append(x) or x)  # type: ignore[func-returns-value]
    whole = EMACodebook(6, QUANTIZERS["ema"])
    whole.codes.copy_(codebook.codes)
    whole.update_ema(target, tokens, lambda x: x)
    codebook.update_ema(target[:2], tokens[:2], lambda x: x + parts[1])
    assert torch.allclose(codebook.codes, whole.codes, atol=1e-5)
    assert torch.allclose(codebook.counts, whole.counts)


def test_averages_move_in_training_only(folder: Path, batch: Tensor, tmp_path: Path) -> None:
    run = trainer("ema", folder, tmp_path)
    (codebook,) = run.network.quantizer.codebooks
    before = codebook.state_dict()["codes"].clone()
    run.network(batch)
    run.network.eval()(batch)
    run.network.train()
    assert torch.equal(codebook.state_dict()["codes"], before)
    run.train_step(batch)
    changed = (codebook.state_dict()["codes"] != before).any(dim=1)
    assert 0 < int(changed.sum()) < 64
    assert torch.equal(codebook.state_dict()["counts"] > 0, changed)


@pytest.mark.parametrize(
    ("levels", "codes"), [((8, 8, 8, 5, 5), 12800), ((8, 5, 5, 5), 1000), ((3, 4), 12)]
)
def test_a_grid_has_every_code_once_and_finds_it(levels: tuple[int, ...], codes: int) -> None:
    config = QuantizerConfig(kind="fsq", levels=levels)
    assert (config.codebook_size, config.codebook_dim) == (codes, len(levels))
    codebook = FSQCodebook(16, config)
    table = grid(levels)
    assert table.shape == (codes, len(levels)) and len(torch.unique(table, dim=0)) == codes
    assert float(table.min()) == -1.0 and float(table.max()) <= 1.0
    # Each bound is undone, so that the search is given what lies exactly on each code.
    numbers = torch.tensor(levels).double()
    half, offset = (numbers - 1) / 2 * 1.001, (1 - numbers % 2) / 2
    places = table.double() * (numbers // 2)
    inputs = torch.atanh((places + offset) / half) - torch.atanh(offset / half)
    assert torch.equal(codebook.search(inputs), torch.arange(codes))
    assert torch.equal(codebook.embed(torch.arange(codes)), table)
    assert torch.allclose(codebook.vectors(), table)


def test_a_grid_rounds_and_lets_the_gradient_through() -> None:
    codebook = FSQCodebook(4, QuantizerConfig(kind="fsq", levels=(5, 5)))
    far = torch.tensor([[-50.0, 50.0], [0.0, 0.0], [50.0, -50.0]])
    assert codebook.search(far).tolist() == [20, 12, 4]
    latent = torch.randn(1, 9, 4, requires_grad=True)
    stage = codebook(latent)
    stage.latent.square().sum().backward()
    assert latent.grad is not None and bool((latent.grad != 0).all())
    assert float(stage.loss) == 0.0
    codes = codebook.embed(stage.tokens)
    assert torch.allclose(stage.latent, F.linear(codes, *weights(codebook)), atol=1e-5)
    assert float((codes - stage.target).abs().max()) <= 0.2501


def weights(codebook: Codebook) -> tuple[Tensor, Tensor]:
    return codebook.out_proj.weight(), codebook.out_proj.bias
