"""Two processes against one with the whole batch: gradients, sums, decisions."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bigcodec_models.training.process_group import SINGLE_PROCESS, ProcessGroup

_GRADIENTS = """
import os, sys, torch
import torch.distributed as dist
from bigcodec_models.quantization.codebooks import EMACodebook
from bigcodec_models.config import PRESETS, QuantizerConfig
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.training.config import CropConfig, LossConfig, TrainConfig
from bigcodec_models.discriminators.config import PRESETS as DISCRIMINATORS
from bigcodec_models.training.codec_loss import CodecLoss
from bigcodec_models.training.optimizers import clipped_gradients
from bigcodec_models.training.process_group import SINGLE_PROCESS, ProcessGroup

alone = len(sys.argv) > 2
if not alone:
    dist.init_process_group("gloo")
group = SINGLE_PROCESS if alone else ProcessGroup(rank=dist.get_rank(), size=2)
torch.set_num_threads(1)
torch.manual_seed(1)
wave = 0.3 * torch.randn(4, 1, 8000)
network = CodecNetwork(PRESETS["toy-lite"])
config = TrainConfig(
    discriminators=DISCRIMINATORS["small"],
    crops=CropConfig(seconds=0.5),
    losses=LossConfig(mel_windows=(128, 512)),
)
codec_loss = CodecLoss(config)
items = group.local_items(4)
real = wave[items.start : items.stop]
output = network(real)
total = codec_loss.discriminator_losses(real, output.wave)["total"]
parameters = [*codec_loss.parameters()]
norm, finite = clipped_gradients(total, parameters, 1e9, group)
assert finite == 1
results = [p.grad.clone() for p in parameters] + [norm]
losses = codec_loss.generator_losses(real, output, (real, output.wave))
total = codec_loss.weighted_sum(losses)
norm, finite = clipped_gradients(total, network.parameters(), 1e9, group)
assert finite == 1
results += [p.grad for p in network.parameters() if p.grad is not None] + [norm]
torch.manual_seed(2)
codebook = EMACodebook(6, QuantizerConfig(codebook_size=16, codebook_dim=3, kind="ema"))
target, tokens = torch.randn(4, 7, 3), torch.randint(0, 16, (4, 7))
for _ in range(2):
    part = slice(items.start, items.stop)
    codebook.update_ema(target[part], tokens[part], group.all_reduce_sum)
results += [codebook.codes, codebook.counts]
assert group.any(group.rank == group.size - 1, torch.device("cpu"))
assert not group.any(False, torch.device("cpu"))
assert int(group.all_reduce_sum(torch.tensor(group.rank + 1))) == (1 if alone else 3)
sent = torch.full((3,), float(group.rank))
group.broadcast(sent)
assert float(sent.sum()) == 0
if group.is_main:
    torch.save(results, sys.argv[1])
if not alone:  # none leaves while another may still be sending
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo now and then aborts when an interpreter ends (torch 2.13, a busy machine)
"""


def test_two_processes_have_the_gradients_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every tensor, discriminators and generator, with half of the batch each; and the moving
    averages of a codebook."""
    script = tmp_path / "gradients.py"
    script.write_text(_GRADIENTS)
    many = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two, one = tmp_path / "two.pt", tmp_path / "one.pt"
    subprocess.run([sys.executable, *many, script, two], check=True, timeout=120)
    monkeypatch.setattr(sys, "argv", [str(script), str(one), "alone"])
    runpy.run_path(str(script))
    results, expected = torch.load(two), torch.load(one)
    assert len(results) == len(expected) > 100
    for result, target in zip(results, expected, strict=True):
        assert torch.allclose(result, target, rtol=1e-3, atol=1e-4 * float(target.abs().max()))


def test_parts_of_a_batch() -> None:
    assert [list(ProcessGroup(rank=rank, size=3).local_items(6)) for rank in range(3)] == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]
    assert SINGLE_PROCESS.local_items(5) == range(5)
    with pytest.raises(ValueError, match="multiple of 4"):
        ProcessGroup(rank=0, size=4).local_items(6)
