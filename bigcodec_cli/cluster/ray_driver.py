"""`compress --ray`: files are coded by the workers of a Ray cluster, which report to here.

A worker codes its files as a command of its own would, on paths that all machines share. Ray is
imported only here, and only when it is asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import os
import re
import secrets
import signal
import socket
import sys
import warnings
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bigcodec_cli import __version__
from bigcodec_cli.cluster.ray_worker import Dispatcher, JobSpec, WorkerPool, write_jobs
from bigcodec_cli.coding.config import CompressConfig
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.atomic import discard_marked
from bigcodec_cli.files.batch import Batch
from bigcodec_cli.files.inputs import InputOptions, Job
from bigcodec_cli.model_store.store import home, introduce_model

if TYPE_CHECKING:
    from bigcodec_cli.coding.audio_encoder import AudioEncoder

_ADDRESS = re.compile(r"local|auto|(ray://)?[^/\s]+:[0-9]{1,5}")
_CONNECT_SECONDS = 10
_STORE_BYTES = 100 << 20
"""The object store of a local cluster: only names and reports go through it."""
_WORKER_BYTES = 500_000_000
_BYTES_PER_PARAMETER = 9
"""Memory of a worker, by benchmarks/RESULTS.md."""


def check_request(address: str, batch: Batch, where: InputOptions, config: CompressConfig) -> None:
    """Refuse what other machines cannot do.

    Raises:
        click.UsageError: naming it.
    """
    if not _ADDRESS.fullmatch(address):
        raise click.UsageError(
            f"--ray: '{address}' is not one of local, auto, HOST:PORT, ray://HOST:PORT"
        )
    if any(job.source is None or job.target is None for job in batch.jobs):
        raise click.UsageError("--ray codes files; '-' (stdin, stdout) goes without it")
    if where.output is not None:
        raise click.UsageError("--ray is for many files, and -o names one; use --output-dir DIR")
    if config.raw is not None:
        raise click.UsageError("--ray takes no --raw input")
    if config.engine == "onnx" and config.device != "cpu":
        raise CliError("--engine onnx: runs on CPUs; with --ray, add --device cpu")
    if config.device not in ("auto", "cpu", "cuda"):
        raise click.UsageError(
            f"--device {config.device}: Ray says which; with --ray auto, cpu or cuda"
        )


def compress_on_ray(address: str, config: CompressConfig, batch: Batch, introduce: bool) -> None:
    """Compress the batch's files on a cluster; with `introduce`, say with which model.

    Raises:
        CliError: Ray is not installed, or the cluster cannot be used.
        click.exceptions.Exit: with code 1, if a file failed.
    """
    ray = _load_ray()
    from bigcodec_cli.coding.audio_encoder import AudioEncoder

    encoder = AudioEncoder.load(dataclasses.replace(config, device="cpu"))
    if introduce:
        introduce_model(encoder.name, encoder.description, batch.options.verbose)
    with _without_ray_messages():
        batch.run(lambda jobs: _run(ray, address, list(jobs), config, encoder, batch), prompt=False)


def _load_ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Ray deprecates does not concern the user
            importlib.import_module("ray.data")
            inner: Any = importlib.import_module("ray._private.worker")
            inner._worker_logs_enabled = False  # else a thread of Ray's prints who died
            return importlib.import_module("ray")
    except ImportError as error:
        raise CliError("--ray: Ray is not installed; pip install 'bigcodec-cli[ray]'") from error


def _run(
    ray: Any,
    address: str,
    jobs: Sequence[Job],
    config: CompressConfig,
    encoder: AudioEncoder,
    batch: Batch,
) -> None:
    if not jobs:
        return
    left = dict(enumerate(jobs))
    mark = secrets.token_hex(4)
    try:
        with _connected(ray, address):
            pool = _worker_pool(ray, config, encoder)
            config = dataclasses.replace(config, device="cuda" if pool.gpus else "cpu")
            spec = _job_spec(config, encoder, batch, mark)
            with contextlib.closing(_reports(ray, jobs, spec, pool)) as rows:
                for row in rows:
                    _report(row, left, batch)
    finally:
        for folder in {job.target.parent for job in left.values() if job.target is not None}:
            discard_marked(folder, mark)
    for job in left.values():
        batch.failed(job, CliError("its worker was lost, perhaps for want of memory"))


def _job_spec(config: CompressConfig, encoder: AudioEncoder, batch: Batch, mark: str) -> JobSpec:
    prior = encoder.prior
    # One engine everywhere: where codes are nearly tied, another may give another token.
    engine = encoder.codec.engine if config.device == "cpu" else "torch"
    return JobSpec(
        config=dataclasses.replace(config, engine=engine),
        outputs=dataclasses.replace(batch.options.outputs, mark=mark),
        folder=str(Path.cwd()),
        home=str(home().absolute()),
        versions=(__version__, encoder.codec.fingerprint, prior.name if prior else None),
    )


def _reports(
    ray: Any, jobs: Sequence[Job], spec: JobSpec, pool: WorkerPool
) -> Generator[dict[str, Any], None, None]:
    """How each file went, as it becomes known.

    Raises:
        CliError: the workers cannot work.
    """
    actor = ray.remote(Dispatcher).options(num_cpus=0)
    try:
        dispatcher = actor.remote(list(write_jobs(jobs)), spec, pool)
        try:
            # Not ray.get, in which SIGTERM's exit code would be lost.
            while texts := dispatcher.next.remote().future().result():
                yield from map(json.loads, texts)
        finally:
            ray.kill(dispatcher)  # and with it the workers, which it owns
    except ray.exceptions.RayError as error:
        raise CliError(f"--ray: {_brief(error)}") from error


def _report(row: dict[str, Any], left: dict[int, Job], batch: Batch) -> None:
    if "fault" in row:
        raise CliError(row["fault"])
    if "remark" in row:
        batch.remark(row["remark"])
        return
    job = left.pop(row["number"])
    if "error" in row:
        batch.failed(job, CliError(row["error"]), row["facts"])
    else:
        batch.succeeded(job, row["summary"], **row["facts"])


def _worker_pool(ray: Any, config: CompressConfig, encoder: AudioEncoder) -> WorkerPool:
    """A worker for every GPU or else every CPU, as far as memory goes.

    Raises:
        CliError: the cluster has no room for any.
    """
    memory = _WORKER_BYTES + _BYTES_PER_PARAMETER * encoder.codec.num_parameters
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = config.device != "cpu" and any(node.get("GPU", 0) >= 1 for node in nodes)
    if config.device == "cuda" and not gpus:
        raise CliError("--device cuda: no machine of the Ray cluster has a GPU; use --device cpu")
    needs = {"CPU": 1, "memory": memory} | ({"GPU": 1} if gpus else {})
    size = sum(min(int(node.get(key, 0) // n) for key, n in needs.items()) for node in nodes)
    if not size:
        raise CliError(f"--ray: no machine has a CPU and {memory / 1e9:.1f} GB for a worker")
    return WorkerPool(size=size, gpus=gpus, memory=memory)


@contextlib.contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """A connection to a cluster, or for `local` one of this machine's own, which ends with it.

    Raises:
        CliError: it cannot be had.
    """
    options: dict[str, Any] = {"logging_level": "CRITICAL", "log_to_driver": False}
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
        options |= {"_node_ip_address": "127.0.0.1"}
    elif address != "auto":
        _check_reachable(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        try:
            ray.init(address, **options)
        except Exception as error:  # RuntimeError, ConnectionError, ValueError, RayError, ...
            raise CliError(f"--ray {address}: {_brief(error)}") from error
        finally:
            for number, handler in handlers.items():  # Ray sets its own
                signal.signal(number, handler)
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray would try for half a minute, and then not say why."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CliError(f"--ray {address}: cannot be reached: {reason}") from error


def _brief(error: BaseException) -> str:
    """One line of Ray's many."""
    chain, cause = str(error), error.__cause__
    while cause is not None:
        chain, cause = f"{chain} {cause}", cause.__cause__
    if "InvalidAuthToken" in chain:
        return "the cluster asks for a token; set RAY_AUTH_MODE=token"
    if "connection timeout" in chain:
        return "no answer; if the cluster asks for a token, set RAY_AUTH_MODE=token"
    if "No module named 'bigcodec_cli" in chain:
        return "bigcodec-cli is not installed on all machines of the cluster"
    line = " ".join(str(error).split())
    return f"{line[:300]} ..." if len(line) > 300 else line


@contextlib.contextmanager
def _without_ray_messages() -> Iterator[None]:
    """Keeps what Ray writes off stderr: its C++ parts write to the descriptor, past Python."""
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, io.UnsupportedOperation):  # not a file of the system
        yield
        return
    copy, nowhere = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
    sys.stderr.flush()
    os.dup2(nowhere, descriptor)
    code, errors = sys.stderr.encoding, sys.stderr.errors
    try:
        with (
            open(copy, "w", 1, encoding=code, errors=errors, closefd=False) as stream,
            contextlib.redirect_stderr(stream),
            warnings.catch_warnings(action="ignore"),
        ):
            yield
    finally:
        os.dup2(copy, descriptor)
        os.close(copy)
        os.close(nowhere)
