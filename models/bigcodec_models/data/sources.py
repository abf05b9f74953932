"""Where the crops of a run are made: on its GPU, if all speech fits there, or on the host."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bigcodec_models.data.crop_choice import Augmentation, CropChooser, Source
from bigcodec_models.data.crops import CropSource, read_mono, to_16_bits
from bigcodec_models.data.device_crops import DeviceCrops, SampleBank, Samples
from bigcodec_models.data.index import Clip, Report

_BYTES_A_SAMPLE = 2


def crop_source(
    sources: Sequence[Clip] | Sequence[Source],
    *,
    crop: int,
    seed: int,
    augmentation: Augmentation,
    noise: Sequence[Clip],
    device: torch.device,
    device_gigabytes: float,
    failed: Report | None = None,
) -> CropSource | DeviceCrops:
    """Crops of `crop` samples from all clips, the same in either place but for rounding.

    They are made on `device` if it is a GPU where all clips take at most `device_gigabytes`, and
    half of what is free. The other arguments are those of `CropSource`, and so are its errors.
    """
    chooser = CropChooser(sources, noise, augmentation, seed)
    clips = chooser.clips()
    size = _BYTES_A_SAMPLE * sum(clip.samples for clip in clips)
    if device.type == "cuda" and size <= min(1e9 * device_gigabytes, _free_bytes(device) / 2):
        return DeviceCrops(chooser, crop, lambda: SampleBank(clips, _read, device, failed))
    return CropSource(
        sources, crop=crop, seed=seed, augmentation=augmentation, noise=noise, failed=failed
    )


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0]


def _read(clip: Clip) -> Samples:
    return to_16_bits(read_mono(clip))
