"""Support for bfloat16 on a device, and its speed."""

from __future__ import annotations

import torch


def bfloat16_pays(device: torch.device) -> bool:
    """Whether bfloat16 convolutions are faster than those in float32.

    They are on GPUs, and on CPUs with matrix units (AMX) or with AMD's AVX512-BF16, where bfloat16
    products were measured to be four times as fast as in float32. On Intel CPUs with AVX512-BF16
    but without AMX they took twice as long (docs/performance.md).
    """
    if device.type != "cpu":
        return True
    capabilities = torch.cpu.get_capabilities()
    amd = str(capabilities.get("cpu_name", "")).startswith("AMD")
    return bool(capabilities.get("amx_bf16") or (amd and capabilities.get("avx512_bf16")))


def bfloat16_lstm_runs() -> bool:
    """Whether torch's LSTM runs in bfloat16 on this CPU: without AVX-512 it raises an error."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
