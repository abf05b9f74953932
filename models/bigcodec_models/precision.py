"""Where half precision can be had, and where it is worth having."""

from __future__ import annotations

import torch


def bfloat16_pays(device: torch.device) -> bool:
    """Whether bfloat16 convolutions are faster than those in float32.

    On a CPU that takes matrix units (AMX), or AMD's form of AVX512-BF16, where bfloat16 products
    ran at four times the rate of float32 ones. On an Intel CPU that has AVX512-BF16 without AMX
    they ran at half of it (docs/performance.md).
    """
    if device.type != "cpu":
        return True
    capabilities = torch.cpu.get_capabilities()
    amd = str(capabilities.get("cpu_name", "")).startswith("AMD")
    return bool(capabilities.get("amx_bf16") or (amd and capabilities.get("avx512_bf16")))


def bfloat16_lstm_runs() -> bool:
    """Whether torch's LSTM runs in bfloat16 on this CPU: without AVX-512 it raises an error."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
