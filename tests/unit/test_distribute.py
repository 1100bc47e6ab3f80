"""Chunks over threads and over the workers of a Dask cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nmap import distribute
from nmap.diagnostics import Diagnostic, Exit, NmapError
from nmap.distribute import chunks_ahead, run_chunks, usable_scheduler


class Times:
    """Work that multiplies, later chunks sooner than earlier ones; it tells where it was made."""

    def __init__(self, factor: int, folder: Path, hold: float = 0.0) -> None:
        self.factor, self.folder, self.hold = factor, folder, hold
        (folder / f"made-{os.getpid()}-{time.monotonic_ns()}").touch()

    def __call__(self, chunk: int) -> int:
        if chunk == -1:
            raise NmapError(Diagnostic("NM801", "error", "this one is damaged"), Exit.DIFFERS)
        if chunk == -2:
            raise ZeroDivisionError
        time.sleep(self.hold + 0.01 * (chunk % 3 == 0))
        return self.factor * chunk


class Dies(Times):
    """Work whose process is killed the first time it sees chunk 4."""

    def __call__(self, chunk: int) -> int:
        mark = self.folder / "died"
        if chunk == 4 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(chunk)


def made(folder: Path) -> int:
    return len(list(folder.glob("made-*")))


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_threads_give_results_in_order_and_share_the_work(jobs: int, tmp_path: Path) -> None:
    assert list(run_chunks(partial(Times, 3, tmp_path), range(12), jobs=jobs)) == [3 * k for k in range(12)]
    assert made(tmp_path) == 1


@pytest.mark.parametrize("jobs", [1, 3])
def test_chunks_are_taken_as_they_are_needed(jobs: int, tmp_path: Path) -> None:
    taken: list[int] = []

    def chunks() -> Iterator[int]:
        for k in range(1000):
            taken.append(k)
            yield k

    results = run_chunks(partial(Times, 1, tmp_path), chunks(), jobs=jobs)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 5 + jobs + 1


def test_threads_raise_what_the_work_raises(tmp_path: Path) -> None:
    results = run_chunks(partial(Times, 1, tmp_path), iter([1, 2, -1, 4]), jobs=2)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(NmapError, match="this one"):
        next(results)


def test_without_the_package_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dask", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NmapError) as caught:
        usable_scheduler("tcp://127.0.0.1:8786")
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.help, caught.value.exit_status) == ("NM005", ("pip install 'nmap-snn[dask]'",), Exit.MISSING)


@pytest.fixture(scope="module")
def dask() -> Any:
    return pytest.importorskip("distributed", reason="the extra `dask` is not installed")


@pytest.fixture(scope="module")
def cluster(dask: Any) -> Iterator[Any]:
    """Two workers in this process: quick to start, and all that is sent is packed all the same where it says so."""
    with dask.LocalCluster(n_workers=2, threads_per_worker=2, processes=False, dashboard_address=":0") as started:
        yield started


# Ends of connections are told by warnings of sockets in dask's own event loops.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def test_a_cluster_gives_what_threads_give(cluster: Any, tmp_path: Path) -> None:
    said: list[str] = []
    results = run_chunks(partial(Times, 3, tmp_path), range(24), scheduler=cluster.scheduler_address, say=said.append)
    assert list(results) == [3 * k for k in range(24)]
    assert made(tmp_path) == 1, "made once in each process, whatever the number of workers, chunks and threads"
    assert any(cluster.scheduler_address in text for text in said)


def test_a_cluster_raises_what_the_work_raises(cluster: Any, tmp_path: Path) -> None:
    results = run_chunks(partial(Times, 1, tmp_path), iter([1, -1]), scheduler=cluster.scheduler_address)
    assert next(results) == 1
    with pytest.raises(NmapError) as caught:
        next(results)
    assert (caught.value.diagnostics[0].code, caught.value.exit_status) == ("NM801", Exit.DIFFERS)
    with pytest.raises(ZeroDivisionError):
        list(run_chunks(partial(Times, 1, tmp_path), [-2], scheduler=cluster.scheduler_address))


@pytest.mark.parametrize(("jobs", "ahead"), [(None, 8), (1, 2), (3, 6)])
def test_chunks_are_sent_ahead_for_the_threads_there_are(cluster: Any, tmp_path: Path, jobs: int | None, ahead: int) -> None:
    assert usable_scheduler(cluster.scheduler_address) == 4
    assert chunks_ahead(4 if jobs is None else jobs) == ahead
    taken: list[int] = []

    def chunks() -> Iterator[int]:
        for k in range(100):
            taken.append(k)
            yield k

    results = run_chunks(partial(Times, 1, tmp_path), chunks(), jobs=jobs, scheduler=cluster.scheduler_address)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) == ahead + 2
    results.close()  # type: ignore[attr-defined]


def test_workers_of_another_version_are_refused(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = iter(["9.9", "1.0"])
    monkeypatch.setattr(distribute, "nmap_version", lambda: next(versions, "1.0"))
    with pytest.raises(NmapError, match=r"a worker has nmap 1\.0, this is 9\.9"):
        list(run_chunks(partial(Times, 1, tmp_path), [1], scheduler=cluster.scheduler_address))


@contextmanager
def _workers(address: str, count: int, folder: Path) -> Iterator[None]:
    """Run workers in processes that nobody starts again: what dask's own nannies do while a cluster ends can take half a minute."""
    program = (
        "import asyncio, sys\nfrom distributed import Worker\nasync def run():\n"
        "    async with Worker(sys.argv[1], nthreads=1, dashboard=False, local_directory=sys.argv[2]) as worker:\n"
        "        await worker.finished()\nasyncio.run(run())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[2]), *sys.path])}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, address, str(folder)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_processes_make_the_work_once_each_and_a_lost_one_costs_only_time(dask: Any, tmp_path: Path) -> None:
    with dask.LocalCluster(n_workers=0, processes=True, dashboard_address=":0") as started:
        address = started.scheduler_address
        with _workers(address, 2, tmp_path):
            assert list(run_chunks(partial(Dies, 2, tmp_path), range(10), scheduler=address)) == [2 * k for k in range(10)]
    assert (tmp_path / "died").exists()
    processes = {path.name.split("-")[1] for path in tmp_path.glob("made-*")}
    assert made(tmp_path) == len(processes), "one each"
    assert str(os.getpid()) not in processes


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "127.0.0.1", "carrier-pigeon://roof"])
def test_a_scheduler_that_does_not_answer_is_told_soon(dask: Any, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribute, "_CONNECT", 0.5)
    with pytest.raises(NmapError) as caught:
        usable_scheduler(address)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.where, caught.value.exit_status) == ("NM006", "--scheduler", Exit.MISSING)
    assert address in diagnostic.message


def test_a_cluster_without_workers_is_given_up_before_and_while_it_works(
    dask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dask.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as started:
        results = run_chunks(partial(Times, 1, tmp_path, 0.1), range(1000), scheduler=started.scheduler_address)
        assert next(results) == 0
        monkeypatch.setattr(distribute, "_WORKERS", 0.5)
        stopper = threading.Thread(target=started.scale, args=(0,))
        stopper.start()
        with pytest.raises(NmapError, match="cannot be used") as caught:
            list(results)
        stopper.join()
        assert "no workers for 0.5 s" in str(caught.value.diagnostics[0].why)
        with pytest.raises(NmapError) as caught:
            usable_scheduler(started.scheduler_address)
        assert caught.value.diagnostics[0].why == "it has no workers after 0.5 s"
