"""Numpy's products on one thread, for as long as somebody wants that."""

from __future__ import annotations

import pytest

from bcdc import blas_threads


class Library:
    """What a library of matrix products has to say about its threads."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def get(self) -> int:
        return self.threads

    def put(self, threads: int) -> None:
        self.threads = threads


def test_the_number_of_threads_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when callers overlap, and after an error."""
    library = Library(8)
    threads = blas_threads._Threads(library.get, library.put)
    monkeypatch.setattr(blas_threads, "_numpy_threads", lambda: threads)
    with blas_threads.one_thread():
        with pytest.raises(KeyError), blas_threads.one_thread():
            raise KeyError
        assert library.threads == 1
    assert library.threads == 8


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas_threads, "_numpy_threads", lambda: None)
    entered = False
    with blas_threads.one_thread():
        entered = True
    assert entered


def test_the_library_of_this_machine() -> None:
    threads = blas_threads._numpy_threads()
    if threads is None:
        pytest.skip("numpy has no OpenBLAS of its own here")
    before = threads._get()
    with blas_threads.one_thread():
        assert threads._get() == 1
    assert threads._get() == before
