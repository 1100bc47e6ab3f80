"""Model files of a chip's own tools, run without the chip: `nmap run MODEL --target T`.

A target that can (`nmap.target.backend.ModelRunner`) emulates what its files hold; nothing is deployed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nmap.diagnostics import Diagnostic, Exit, NmapError
from nmap.options import split_target
from nmap.report.model import ModelResult
from nmap.target.backend import ModelRun, ModelRunner, Target

__all__ = ["EVERY", "TAIL", "mention_target", "refuse_options", "run_model"]

TAIL = 16
"""Ticks that are run beyond the last one in which an input spike is seen, where no number is asked for."""
EVERY = "all"
"""The one probe of a model: the spikes of every neuron."""

_ARCHIVE = ".npz"
_MAX_STEPS = 2**31 - 1
_MAX_SEED = 2**63 - 1

Progress = Callable[[str, str], None]


def refuse_options(
    source: Path, *, level: str | None = None, raw_time: bool = False, dt: float | None = None, reset: str | None = None,
    framework: str | None = None, reset_interval: int | None = None, reset_offset: int | None = None, split: int = 1,
    memory_limit: int | None = None, scheduler: str | None = None, keep: bool = True,
) -> None:
    """Refuse the options of `nmap run` that say something about a network or its samples.

    Args:
        source: the model file.
        level, raw_time, dt, reset, framework, reset_interval, reset_offset, split, memory_limit, scheduler, keep: as given, or as they
            are where they were not.

    Raises:
        NmapError: NM004, naming all of them together.
    """
    given = {
        "--level": level not in (None, "chip"), "--raw-time": raw_time, "--dt": dt is not None, "--reset": reset is not None,
        "--source": framework is not None, "--reset-interval": reset_interval is not None, "--reset-offset": reset_offset is not None,
        "--split": split != 1, "--memory-limit": memory_limit is not None, "--scheduler": scheduler is not None, "keep=False": not keep,
    }
    stated = [name for name, wrong in given.items() if wrong]
    if stated:
        raise NmapError(Diagnostic(
            "NM004", "error", f"{', '.join(stated)}: not for a model file", str(source),
            "With --target, a model runs as its file states it, on the emulator and in the chip's own ticks.",
            ("leave out what is named here",),
        ))


def mention_target(error: NmapError, source: Path) -> NmapError:
    """Return a failure to read a network with what a user may have forgotten: a chip's own model file needs `--target`."""
    first, *others = error.diagnostics
    if (first.code, first.where) != ("NM101", str(source)) or not source.is_file():
        return error
    told = replace(first, help=(*first.help, f"if it is a model file of a chip's own tools: nmap run {source} --target T --input FILE"))
    return NmapError([told, *others], error.exit_status)


def run_model(
    source: Path, *, target: str, input: Path | None = None, steps: int | None = None, probes: Sequence[str] = (),  # noqa: A002
    seed: int = 0, jobs: int | None = None, output: Path | None = None, progress: Progress | None = None,
) -> ModelResult:
    """Run a model file of a chip's own tools on the emulator of that chip.

    Args:
        source: the model file.
        target: chip family, or `family:variant`.
        input: file of input spikes; None for a model that holds its input or runs by itself.
        steps: ticks to run; None up to `TAIL` ticks after the last one in which an input spike is seen.
        probes: () for the neurons that send off the chip, (`EVERY`,) for all.
        seed: of random modes.
        jobs: threads; None for the cores that this process may use.
        output: file for the spikes: `.npz` (`ModelResult.arrays`), or an ending of the chip's own spike files.
        progress: called with (stage, text).

    Raises:
        NmapError: NM004 wrong use, also for a bundle or a network file; NM003 an unknown target; NM101 and NM801 where there is no file;
            NM601 an output that cannot be written; and all that the target finds in the files.
    """
    from nmap.running import usable_cores
    from nmap.writers.place import check_place

    _check_source(source, target)
    name, chosen, variant = _runner(target)
    _check_numbers(steps, seed, jobs)
    every = _every(probes)
    if input is not None:
        _check_input(input)
    if output is not None:
        check_place(output, [source, *([] if input is None else [input])])
        _check_ending(chosen, name, output)

    def tell(text: str) -> None:
        if progress is not None:
            progress("chip", text)

    if progress is not None:
        progress("read", source.name)
    start = time.perf_counter()
    found = chosen.run_model(
        source, input, steps=steps, every=every, seed=seed, jobs=usable_cores() if jobs is None else jobs, progress=tell
    )
    took = time.perf_counter() - start
    timings = {"chip": took} if found.seconds is None else {"read": max(took - found.seconds, 0.0), "chip": found.seconds}
    result = ModelResult(
        run=found, model=str(source), target=f"{name}:{variant}", kind=chosen.models.get(found.format, found.format),
        input=None if input is None else str(input), tail=TAIL if steps is None else None, seed=seed, timings=timings,
    )
    if output is not None:
        _write(chosen, result, output)
    return result


def _check_source(source: Path, target: str) -> None:
    if not _regular_file(source, "NM101"):
        raise NmapError(Diagnostic(
            "NM004", "error", "`--target` goes with a model file; a bundle is run for the target it was deployed to", str(source),
            help=(f"nmap run {source} --input FILE, without --target",),
        ))
    if _is_network(source):
        raise NmapError(Diagnostic(
            "NM004", "error", f"`{source.name}` is a network file: on `{target}` it runs once it is deployed", str(source),
            help=(f"nmap deploy {source} --target {target} -o DIR, then nmap run DIR", "without --target it runs at level `float`"),
        ))


def _regular_file(path: Path, code: str) -> bool:
    """Return True for a file that can be read and False for a folder.

    Raises:
        NmapError: it is neither.
    """
    name, why = str(path), None
    try:
        if path.is_dir():
            return False
        if not path.exists():
            text = f"`{name}` does not exist"
        elif not path.is_file():
            text = f"`{name}` is not a regular file"
        else:
            with path.open("rb"):
                return True
    except (OSError, ValueError) as error:
        text, why = f"`{name}` cannot be opened", f"{getattr(error, 'strerror', None) or error}."
    raise NmapError(Diagnostic(code, "error", text, name, why))


def _check_input(path: Path) -> None:
    if not _regular_file(path, "NM801"):
        raise NmapError(Diagnostic("NM801", "error", f"`{path}` is a folder, not a file of input spikes", str(path)))


def _is_network(path: Path) -> bool:
    """Tell whether a file is one that `nmap deploy` takes; other HDF5 files may be some chip's models."""
    from nmap.readers.storage import SIGNATURE

    with path.open("rb") as stream:
        if stream.read(len(SIGNATURE)) != SIGNATURE:
            return False
    from nmap.diagnostics import Findings
    from nmap.readers.sniff import identify, open_tree

    try:
        identify(open_tree(path, Findings()))
    except NmapError:
        return False
    return True


def _runner(text: str) -> tuple[str, ModelRunner, str]:
    """Return the target's name, what runs its models, and its variant."""
    from nmap.target.registry import find_target

    name, variant = split_target(text)
    target: Target = find_target(name)
    spec = target.spec
    if variant is not None and variant not in spec.variants:
        known = ", ".join(f"`{name}:{v}`" for v in spec.variants)
        raise NmapError(Diagnostic("NM003", "error", f"`{name}` has no variant `{variant}`", why=f"Known variants: {known}."))
    if not isinstance(target, ModelRunner):
        able = _able()
        raise NmapError(Diagnostic(
            "NM004", "error", f"nmap runs no model files of `{name}`", "--target", "It runs what was deployed to that chip: a bundle.",
            (f"of these targets it runs model files: {', '.join(f'`{other}`' for other in able)}",) if able else (),
        ))
    return name, target, variant or spec.default_variant


def _able() -> list[str]:
    """Return the installed targets whose model files can be run."""
    from nmap.target.registry import find_target, target_names

    able = []
    for name in target_names():
        try:
            if isinstance(find_target(name), ModelRunner):
                able.append(name)
        except NmapError:
            continue  # `nmap doctor` tells about a broken plug-in
    return able


def _check_numbers(steps: int | None, seed: int, jobs: int | None) -> None:
    from nmap.running import usable_cores

    bounds = {
        "--steps": (steps, 1, _MAX_STEPS), "--seed": (seed, 0, _MAX_SEED), "--jobs": (jobs, 1, max(256, usable_cores())),
    }
    for where, (number, least, most) in bounds.items():
        if number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
            raise NmapError(Diagnostic(
                "NM004", "error", f"`{where}` takes a whole number from {least} to {most}, not {number!r}", where
            ), Exit.USAGE)


def _every(probes: Sequence[str]) -> bool:
    wrong = [probe for probe in probes if probe != EVERY]
    if wrong:
        raise NmapError(Diagnostic(
            "NM004", "error", f"a model has no probe {', '.join(f'`{probe}`' for probe in wrong)}", "--probe",
            "Recorded are the spikes of the neurons that send off the chip; of a model there is nothing else by name.",
            (f"`--probe {EVERY}` records the spikes of every neuron",),
        ))
    return bool(probes)


def _check_ending(runner: ModelRunner, name: str, output: Path) -> None:
    suffix = output.suffix.lower()
    nothing = ModelRun(
        events=np.empty((0, 3), np.int32), steps=1, cores=1, neurons=1, given=0, every=False, exact=True, why=None, format="", merged=0,
        sha256="",
    )
    # A run without spikes is written at no cost, and so tells before a long run whether the ending means anything.
    if suffix not in ("", _ARCHIVE) and runner.spike_file(nothing, suffix) is None:
        raise NmapError(Diagnostic(
            "NM004", "error", f"spikes of a model of `{name}` are not written as `{suffix}`", "--output",
            help=(f"`-o {output.with_suffix(_ARCHIVE).name}`: an array `events` of tick, core and neuron",),
        ))


def _write(runner: ModelRunner, result: ModelResult, output: Path) -> None:
    from nmap.writers.archive import write_archive
    from nmap.writers.place import write_file

    suffix = output.suffix.lower()
    content = None if suffix in ("", _ARCHIVE) else runner.spike_file(result.run, suffix)
    if content is None:
        write_file(output, lambda stream: write_archive(stream, result.arrays))
    else:
        write_file(output, lambda stream: stream.write(content))
