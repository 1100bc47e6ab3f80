"""Chunks of a data set over threads of one machine, or over a Dask cluster: the same results in the same order either way.

What runs a chunk is made once: on this machine, where threads share it, or once in each process of the cluster's workers, where it
arrives once and stays. The work is in compiled code and in numpy, which leave Python's lock to others, so threads do what processes
would do on one machine, and share the weights.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any, Generic, TypeVar
from uuid import uuid4
from weakref import WeakValueDictionary

from nmap.diagnostics import Diagnostic, Exit, NmapError
from nmap.report.versions import nmap_version

__all__ = ["CHUNK_BYTES", "chunks_ahead", "run_chunks", "usable_scheduler"]

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")
Work = Callable[[Chunk], Result]
"""Runs one chunk; several threads call it at a time."""

CHUNK_BYTES = 2**23
"""Samples that are sent to a worker at a time; the scheduler keeps them until they are done, in case the worker is lost."""
_CONNECT = 5.0
"""Seconds to wait for the scheduler."""
_WORKERS = 60.0
"""Seconds without a single worker after which a run is given up."""
_AHEAD = 2
"""Chunks under way for each thread, so that none is idle while results are fetched."""


def run_chunks(
    make: Callable[[], Work[Chunk, Result]], chunks: Iterable[Chunk], *, jobs: int | None = None, scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[Result]:
    """Yield the result of each chunk, in the order of the chunks; they are computed in any order, some ahead of the one asked for.

    Args:
        make: called once, or once in each worker process; returns what runs a chunk. With a scheduler it is pickled, so it is a
            function of a module or `functools.partial` of one, with all that the work needs as arguments.
        chunks: taken as they are needed.
        jobs: threads, 1 by default. With a scheduler, the threads that chunks are sent ahead for, by default those that its workers have.
        scheduler: address of a Dask scheduler (`tcp://host:8786`), whose workers have the same version of nmap.
        say: called with a line of progress about the cluster.

    Raises:
        NmapError: NM005, `distributed` is not installed; NM006, the cluster cannot be reached, has no workers or loses them; what the
            work raises.
    """
    if scheduler is None:
        work = make()
        if jobs is None or jobs == 1:
            yield from map(work, chunks)
            return
        with ThreadPoolExecutor(jobs, "nmap-chunk") as pool:
            yield from _in_order(lambda chunk: pool.submit(work, chunk), chunks, jobs + 1, lambda future: future.result())
        return
    with _cluster(scheduler, say) as cluster:
        yield from cluster.run(make, chunks, cluster.threads if jobs is None else jobs)


def usable_scheduler(scheduler: str) -> int:
    """Look whether a cluster answers, before long work is begun, and return how many threads its workers have.

    Raises:
        NmapError: NM005 or NM006; see `run_chunks`.
    """
    with _cluster(scheduler, None) as cluster:
        return cluster.threads


def chunks_ahead(threads: int) -> int:
    """Return how many chunks are under way at a time for that many threads of a cluster's workers."""
    return _AHEAD * max(1, threads)


def _timed_out() -> tuple[type[BaseException], ...]:
    """Return what a wait that took too long raises: two types until Python 3.11."""
    # Takes longer to import than all of this module, and is needed for clusters only.
    import asyncio

    return TimeoutError, asyncio.TimeoutError


def _in_order(
    submit: Callable[[Chunk], Any], chunks: Iterable[Chunk], ahead: int, result: Callable[[Any], Result]
) -> Iterator[Result]:
    """Yield results in order with `ahead` chunks under way; what is under way is cancelled where the caller stops early."""
    waiting: deque[Any] = deque()
    try:
        for chunk in chunks:
            waiting.append(submit(chunk))
            if len(waiting) >= ahead:
                yield result(waiting.popleft())
        while waiting:
            yield result(waiting.popleft())
    finally:
        for future in waiting:
            future.cancel()


# ---- on a worker ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Failed:
    """An `NmapError` of a worker, as a value."""

    diagnostics: tuple[Diagnostic, ...]
    exit_status: Exit


class _Made:
    """What runs chunks, once it is made."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.work: Work[Any, Any] | None = None


_MADE: WeakValueDictionary[str, _Made] = WeakValueDictionary()
"""Of this process, by run: a worker may be handed several copies of a kit. It goes with the last of them."""
_LOCK = Lock()


class _Kit(Generic[Chunk, Result]):
    """What a worker process needs for all chunks; it is unpacked there when the first one is run.

    Args:
        packed: pickled `make`; see `run_chunks`.
        version: of nmap.
        run: unique name of the run.
    """

    def __init__(self, packed: bytes, version: str, run: str) -> None:
        self.packed, self.version, self.name = packed, version, run
        with _LOCK:
            self._made = _MADE.setdefault(run, _Made())

    def __reduce__(self) -> tuple[Any, ...]:
        return _Kit, (self.packed, self.version, self.name)

    def run(self, chunk: Chunk) -> Result | _Failed:
        try:
            work: Work[Chunk, Result] = self._ready()
            return work(chunk)
        except NmapError as error:
            return _Failed(error.diagnostics, error.exit_status)

    def _ready(self) -> Work[Any, Any]:
        with self._made.lock:
            if self._made.work is None:
                if self.version != nmap_version():
                    raise NmapError(Diagnostic(
                        "NM006", "error", f"a worker has nmap {nmap_version()}, this is {self.version}", "--scheduler",
                        help=("install the same version on all workers",),
                    ), Exit.MISSING)
                self._made.work = pickle.loads(self.packed)()
            return self._made.work


def _run(kit: _Kit[Chunk, Result], chunk: Chunk) -> Result | _Failed:
    return kit.run(chunk)


# ---- on the client ----------------------------------------------------------------------------------------------------------------------


class _Cluster:
    """A connection to a scheduler with at least one worker."""

    def __init__(self, client: Any, address: str) -> None:
        self.client, self.address = client, address

    @property
    def threads(self) -> int:
        """Threads of the workers that there are now."""
        return sum(self.client.nthreads().values())

    def run(self, make: Callable[[], Work[Chunk, Result]], chunks: Iterable[Chunk], threads: int) -> Iterator[Result]:
        """See `run_chunks`; chunks are sent ahead for `threads` threads."""
        # A task like the others: one worker unpacks it, the others have it from there, and if all of them are lost it is made again.
        packed = pickle.dumps(make, pickle.HIGHEST_PROTOCOL)
        kit = self.client.submit(_Kit, packed, nmap_version(), uuid4().hex, pure=False)
        submit = partial(self.client.submit, _run, kit, pure=False)
        yield from _in_order(submit, chunks, chunks_ahead(threads), self._result)

    def _result(self, future: Any) -> Any:
        """Wait for a result as long as there are workers.

        Raises:
            NmapError: NM006, see `run_chunks`; or what the work raised.
        """
        from distributed import KilledWorker

        while True:
            try:
                made = future.result(timeout=_WORKERS)
                break
            except _timed_out():
                if not self.client.nthreads():
                    raise _unusable(self.address, f"it has had no workers for {_WORKERS:g} s") from None
            except KilledWorker as error:
                raise _unusable(self.address, f"workers die of the same samples: {error}", "give the workers more memory") from error
            except CancelledError as error:
                raise _unusable(self.address, "the scheduler was stopped or has let go of the work") from error
            except (ImportError, OSError) as error:
                raise _unusable(self.address, f"a worker cannot run nmap: {type(error).__name__}: {error}") from error
        if isinstance(made, _Failed):
            raise NmapError(made.diagnostics, made.exit_status)
        return made


@contextmanager
def _cluster(address: str, say: Callable[[str], None] | None) -> Iterator[_Cluster]:
    """Connect to a scheduler and wait for its first worker."""
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise NmapError(Diagnostic(
            "NM005", "error", "`--scheduler` needs the package `distributed`", "--scheduler", str(error), ("pip install 'nmap-snn[dask]'",),
        ), Exit.MISSING) from error
    with ExitStack() as stack:
        # Chunks travel with their tasks, so that a lost worker costs nothing but time; dask would rather warn of their size.
        stack.enter_context(dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}))
        try:
            connect: Callable[..., Any] = Client
            client = stack.enter_context(connect(address, timeout=_CONNECT, set_as_default=False))
        except Exception as error:
            # What answers there need not be a scheduler, and then anything can be made of its answer.
            why = f"{type(error).__name__}: {error}"
            raise _unusable(address, why, "give the address that the scheduler prints: tcp://HOST:PORT") from error
        if say is not None:
            say(f"waiting for workers of {address}")
        try:
            client.wait_for_workers(1, timeout=_WORKERS)
        except _timed_out():
            raise _unusable(address, f"it has no workers after {_WORKERS:g} s", f"start one: dask worker {address}") from None
        yield _Cluster(client, address)


def _unusable(address: str, why: str, *help: str) -> NmapError:  # noqa: A002 - the field's own name
    return NmapError(Diagnostic("NM006", "error", f"the cluster at `{address}` cannot be used", "--scheduler", why, help), Exit.MISSING)
