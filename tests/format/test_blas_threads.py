"""One thread for numpy's products, for as long as any caller wants that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import ThreadpoolController

from bcdc.blas_threads import one_thread


def blas_threads() -> set[int]:
    """Of numpy's library: another test may have loaded others meanwhile."""
    libraries = ThreadpoolController().select(user_api="blas").info()
    return {each["num_threads"] for each in libraries if "numpy" in each["filepath"]}


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Products on two threads to begin with, however many processors there are."""
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("no BLAS library whose threads can be limited")
        yield


def test_the_number_of_threads_comes_back_after_an_error() -> None:
    with pytest.raises(KeyError), one_thread():
        assert blas_threads() == {1}
        raise KeyError
    assert blas_threads() == {2}


def test_callers_may_overlap_in_any_order() -> None:
    first, second = one_thread(), one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert blas_threads() == {1}
    second.__exit__(None, None, None)
    assert blas_threads() == {2}
