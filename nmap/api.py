"""The Python interface: the command line's commands as functions.

Each takes the command line's options under the same names and raises `NmapError` for what the user can mend.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any, Literal, overload

from nmap import flow
from nmap.diagnostics import Diagnostic, NmapError
from nmap.mapping import Mapping
from nmap.network import Network
from nmap.options import Options
from nmap.report.model import ModelResult, Outcome, RunResult, Verification

__all__ = ["Deployment", "check", "deploy", "export", "read", "run", "verify", "write"]


@dataclass(frozen=True, slots=True, eq=False)
class Deployment:
    """What a command found out about one network on one target.

    Args:
        outcome: everything, stage by stage.
    """

    outcome: Outcome

    @property
    def status(self) -> str:
        """`ok`, `does_not_fit`, `differs` or `unknown`."""
        return self.outcome.status

    @property
    def report(self) -> dict[str, Any]:
        """The report as a JSON object, schema `nmap.report/1`."""
        from nmap.report.json import to_json

        return to_json(self.outcome)

    @property
    def mapping(self) -> Mapping | None:
        """Where everything lies; None when it does not fit."""
        return self.outcome.mapping

    @property
    def verdict(self) -> Verification | None:
        """What was checked, and the result; None before that stage."""
        return self.outcome.verification

    @property
    def bundle(self) -> Path | None:
        """The folder written."""
        return self.outcome.bundle

    def __str__(self) -> str:
        from nmap.report.text import to_text

        return to_text(self.report)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def _deployment(outcome: Outcome) -> Deployment:
    if outcome.status == "error" and any(d.severity == "error" for d in outcome.diagnostics):
        raise NmapError([d for d in outcome.diagnostics if d.severity == "error"], outcome.exit_status)
    return Deployment(outcome)


def read(
    network: str | PathLike[str] | object, *, dt: float | None = None, reset: str | None = None, source: str | None = None,
    reset_interval: int | None = None, reset_offset: int | None = None,
) -> Network:
    """Read a NIR or netx file, or a NIR graph in memory.

    A `nir.NIRGraph` as a framework's export returns it needs no file: `nmap.read(graph)` gives the network of the file that `nir.write`
    would make. To deploy it, write it first: `nmap.write(nmap.read(graph), "net.nir")`, then `nmap.deploy("net.nir", "loihi2")`.

    Args:
        network: a file's path, or a graph with `nodes` and `edges`; the `nir` package is not needed.
        dt, reset, source, reset_interval, reset_offset: conventions, as for `nmap inspect`.

    Raises:
        NmapError: with everything that keeps it from being read.
    """
    from nmap.readers import read as read_network

    return read_network(network, dt=dt, reset=reset, source=source, reset_interval=reset_interval, reset_offset=reset_offset)


def write(network: Network, path: str | PathLike[str]) -> Path:
    """Write a network as a NIR file that `nir.read` accepts and that `read` reads back as an equal network.

    Returns:
        The file's path.

    Raises:
        NmapError: NM104 naming every population and projection that NIR has no word for, NM601 where the file cannot be written.
    """
    from nmap.writers import write as write_network

    return write_network(network, path)


def _options(
    *, bits: int | None = None, partitioner: str = "cpsat", effort: Literal[0, 1, 2] = 1, seed: int = 0, chips: int | None = None,
    dead_cores: Iterable[tuple[int, int]] = (), dead_links: Iterable[tuple[tuple[int, int], tuple[int, int]]] = (), slack: float = 0.05,
    approximate: str | Iterable[str] = (), steps: int | None = None, strict: bool = False, slowdown: int | None = None,
) -> Options:
    names = approximate.split(",") if isinstance(approximate, str) else approximate
    return Options(
        bits=bits, partitioner=partitioner, effort=effort, seed=seed, chips=chips, dead=tuple(dead_cores),
        dead_links=tuple(dead_links), slack=slack, approximate=frozenset(name.strip() for name in names if name.strip()), steps=steps,
        strict=strict, slowdown=slowdown,
    )


def deploy(
    path: str | Path, target: str, *, input: str | Path | None = None, output: str | Path | None = None,  # noqa: A002
    dt: float | None = None, reset: str | None = None, source: str | None = None, verify: bool = True, stop_after: str | None = None,
    locked: bool = False, from_bundle: str | Path | None = None, reset_interval: int | None = None, reset_offset: int | None = None,
    jobs: int | None = None, memory_limit: int | None = None, **options: Any,
) -> Deployment:
    """Take a network file to a chip and prove the result.

    Args:
        path, target, input, output, dt, reset, source, verify, stop_after, locked, reset_interval, reset_offset: as for `nmap deploy`.
        jobs, memory_limit: threads and bytes of the verification; see `verify`.
        from_bundle: an earlier bundle, whose mapping is kept as far as possible: `nmap deploy --from`.
        options: `bits`, `partitioner`, `effort`, `seed`, `chips`, `dead_cores` ((chip, core) pairs; core -1 is a whole chip),
            `dead_links` (pairs of those), `slack`, `approximate` (names, or one text with commas), `steps`, `strict`, `slowdown`.

    Raises:
        NmapError: wrong usage, an unreadable file, or a missing package.
    """
    return _deployment(flow.deploy(
        Path(path), target=target, options=_options(**options), dt=dt, reset=reset, source=source,
        input=None if input is None else Path(input), output=None if output is None else Path(output), verify=verify,
        stop_after=stop_after, locked=locked, from_bundle=None if from_bundle is None else Path(from_bundle),
        reset_interval=reset_interval, reset_offset=reset_offset, jobs=jobs, memory_limit=memory_limit,
    ))


def check(
    path: str | Path, target: str | Sequence[str], *, input: str | Path | None = None,  # noqa: A002
    dt: float | None = None, reset: str | None = None, source: str | None = None, reset_interval: int | None = None,
    reset_offset: int | None = None, **options: Any,
) -> list[Deployment]:
    """Say whether a network fits each target; writes nothing.

    Args:
        path, input, dt, reset, source, reset_interval, reset_offset: as for `nmap check`.
        target: one target, several separated by commas or in a list, or `all`.
        options: as for `deploy`.

    Raises:
        NmapError: wrong usage, an unreadable file, or a missing package, for any of the targets.
    """
    from nmap.target.registry import target_names

    named = [name.strip() for name in target.split(",")] if isinstance(target, str) else list(target)
    targets = list(target_names()) if named == ["all"] else named
    outcomes = flow.check(
        Path(path), targets=targets, options=_options(**options), dt=dt, reset=reset, source=source,
        reset_interval=reset_interval, reset_offset=reset_offset, input=None if input is None else Path(input),
    )
    return [_deployment(outcome) for outcome in outcomes]


def export(
    source: str | Path, output: str | Path, *, target: str | None = None, format: str = "netx",  # noqa: A002
    input: str | Path | None = None, dt: float | None = None, reset: str | None = None, framework: str | None = None,  # noqa: A002
    reset_interval: int | None = None, reset_offset: int | None = None, verify: bool = True, **options: Any,
) -> Deployment:
    """Write a quantized network as a file of a vendor's own tools; the file is read back and compared first.

    Args:
        source: a network file, or a bundle, which settles target, options and conventions.
        output: the file; an existing one is replaced.
        target, format, input, dt, reset, framework, reset_interval, reset_offset, verify: as for `nmap export`.
        options: `bits`, `approximate`, `steps`, `strict`; as for `deploy`.

    Returns:
        What was found out; its diagnostics say how the file is used.

    Raises:
        NmapError: with everything that the format cannot hold, or wrong usage.
    """
    from nmap.writers.place import check_place, write_file

    place, path = Path(output), Path(source)
    check_place(place, [path, *([] if input is None else [Path(input)])])
    made = flow.export(
        path, format=format, target=target, options=None if path.is_dir() and not options else _options(**options), dt=dt, reset=reset,
        framework=framework, reset_interval=reset_interval, reset_offset=reset_offset, input=None if input is None else Path(input),
        verify=verify, strict=bool(options.get("strict", False)),
    )
    deployment = _deployment(made.outcome)
    content = made.content
    if content is not None:
        write_file(place, lambda stream: stream.write(content))
    return deployment


@overload
def run(
    source: str | Path, input: str | Path, *, target: None = None, level: Literal["chip", "fixed", "float"] | None = None,
    probes: Sequence[str] = (), steps: int | None = None, raw_time: bool = False, dt: float | None = None, reset: str | None = None,
    framework: str | None = None, reset_interval: int | None = None, reset_offset: int | None = None, jobs: int | None = None,
    split: int = 1, memory_limit: int | None = None, scheduler: str | None = None, output: str | Path | None = None, keep: bool = True,
) -> RunResult: ...


@overload
def run(
    source: str | Path, input: str | Path | None = None, *, target: str, probes: Sequence[str] = (), steps: int | None = None,
    seed: int | None = None, jobs: int | None = None, output: str | Path | None = None,
) -> ModelResult: ...


def run(
    source: str | Path, input: str | Path | None = None, *, target: str | None = None,  # noqa: A002
    level: Literal["chip", "fixed", "float"] | None = None,
    probes: Sequence[str] = (), steps: int | None = None, seed: int | None = None, raw_time: bool = False, dt: float | None = None,
    reset: str | None = None, framework: str | None = None, reset_interval: int | None = None, reset_offset: int | None = None,
    jobs: int | None = None, split: int = 1, memory_limit: int | None = None, scheduler: str | None = None,
    output: str | Path | None = None, keep: bool = True,
) -> RunResult | ModelResult:
    """Run samples through a bundle or a network file, or a model file of a chip's own tools.

    What is computed depends neither on threads, nor on the memory limit, nor on who computes it.

    Args:
        source: bundle folder or network file; with `target` a model file of that chip's own tools, which nmap's emulator runs.
        input: samples; of a model its spike file, or None where the model file holds its input or runs by itself.
        target: chip family or `family:variant` of a model file; None for a bundle or a network.
        level: None for `chip` of a bundle and `float` of a file.
        probes: `POP`, `POP:v`, `POP:u` or `POP:spikes`, recorded beside the outputs; of a model `all`: every neuron.
        steps: time steps to run; None for the input's length, for a model 16 ticks beyond the last in which an input spike is seen.
        seed: of a model's random modes; None for 0.
        raw_time: keep the chip's own time instead of realigning to the network's.
        dt, reset, framework, reset_interval, reset_offset: conventions of a network file.
        jobs: threads of the emulator that samples are shared out to; None for the cores that this process may use.
        split: threads of the emulator that share each sample; not together with `jobs`.
        memory_limit: bytes that this process may take; None for no limit.
        scheduler: address of a Dask scheduler (`tcp://host:8786`) whose workers run the samples; None for this machine.
        output: HDF5 file that results are written to as they come; an existing one is replaced. Of a model: `.npz`, or an ending of
            the chip's own spike files.
        keep: whether spikes and probes are in the result, too; counts and accuracy always are.

    Raises:
        NmapError: anything the user can mend.
    """
    path, place = Path(source), None if output is None else Path(output)
    shared: dict[str, Any] = {
        "level": level, "raw_time": raw_time, "dt": dt, "reset": reset, "framework": framework, "reset_interval": reset_interval,
        "reset_offset": reset_offset, "split": split, "memory_limit": memory_limit, "scheduler": scheduler, "keep": keep,
    }
    if target is not None:
        from nmap.models import refuse_options, run_model

        refuse_options(path, **shared)
        return run_model(
            path, target=target, input=None if input is None else Path(input), steps=steps, probes=probes,
            seed=0 if seed is None else seed, jobs=jobs, output=place,
        )
    if seed is not None:
        raise NmapError(Diagnostic("NM004", "error", "nothing in a bundle or a network is random: no seed is needed", "seed"))
    if input is None:
        raise NmapError(Diagnostic("NM004", "error", "a bundle or a network needs samples", "input"))
    return flow.run(path, input=Path(input), probes=probes, steps=steps, jobs=jobs, output=place, **shared)


def verify(
    bundle: str | Path, *, input: str | Path | None = None, against: str | None = None,  # noqa: A002
    steps: int | None = None, strict: bool = False, jobs: int | None = None, split: int = 1, memory_limit: int | None = None,
    scheduler: str | None = None,
) -> Deployment:
    """Check a bundle again.

    Args:
        bundle: folder written by `deploy`.
        input: samples; random spikes stand in without them.
        against: `fixed`, `float` or `vendor`; None for all three.
        steps: time steps to run; None for the input's length.
        strict: warnings count as errors.
        jobs: threads that samples are shared out to; None for the cores that this process may use.
        split: threads of the emulator that share each sample; not together with `jobs`.
        memory_limit: bytes that this process may take; None for no limit.
        scheduler: address of a Dask scheduler whose workers compare emulator, reference and network; None for this machine.

    Raises:
        NmapError: wrong usage, a damaged bundle, a missing package, or a cluster that cannot be used.
    """
    return _deployment(flow.verify(
        Path(bundle), input=None if input is None else Path(input), against=against, steps=steps, strict=strict, jobs=jobs, split=split,
        memory_limit=memory_limit, scheduler=scheduler,
    ))
