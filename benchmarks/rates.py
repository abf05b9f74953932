"""The highest rates of a machine: matrix products, and reading memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F

from benchmarks.report import best_of


@dataclasses.dataclass(frozen=True)
class Rates:
    """Rates with the threads of torch: 1e9 operations and 1e9 bytes per second."""

    float32: float
    bfloat16: float
    reading: float


def measure(width: int) -> Rates:
    """Best rates seen: square products of 2048, and matrix-vector products over the recurrent
    weights of four LSTM layers of a width."""
    return Rates(_product(torch.float32), _product(torch.bfloat16), _reading(width))


def _product(dtype: torch.dtype) -> float:
    size = 2048
    left, right = torch.randn(2, size, size).to(dtype)
    return 2 * size**3 / _fastest(lambda: left @ right) / 1e9


def products() -> float:
    """Best float32 rate of products seen, square ones or a convolution's: 1e9 operations a second.

    Matrix products and convolutions come from different libraries; on AMD's processors torch's
    matrix products are by far the slower ones.
    """
    return max(_product(torch.float32), _convolution())


def _convolution() -> float:
    """256 channels to as many, 3 by 3, with the channels innermost in memory."""
    channels, rows, columns, kernel = 256, 256, 32, 3
    x = torch.randn(1, channels, rows, columns).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, kernel, kernel)
    operations = 2 * channels**2 * kernel**2 * rows * columns
    return operations / _fastest(lambda: F.conv2d(x, weight, padding=1)) / 1e9


def _reading(width: int) -> float:
    """With a part of the rows on each thread."""
    threads = torch.get_num_threads()
    weights = [torch.randn(4 * width, width) for _ in range(4)]
    vector = torch.randn(width)

    def read_rows(index: int) -> None:
        torch.set_num_threads(1)
        for weight in weights:
            torch.mv(weight.chunk(threads)[index], vector)

    with ThreadPoolExecutor(threads) as pool:
        seconds = _fastest(lambda: list(pool.map(read_rows, range(threads))))
    torch.set_num_threads(threads)
    return 4 * 16 * width**2 / seconds / 1e9


def _fastest(work: Callable[[], object]) -> float:
    return best_of(15, {"": work})[""]
