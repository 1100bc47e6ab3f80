"""The benchmark's tables: nmap against baselines, proved bounds and the best values known, with the bars that must hold."""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import baselines
import instances
import numpy as np
from mtk import mtkahypar
from neutral import NeutralPartition, NeutralPlacement, read_problem, save, score_partition, score_placement, with_dead
from rich.console import Console
from rich.table import Table

__all__ = ["BEST_PLACED", "BEST_UNICAST", "FEWEST", "Bar", "geometric_mean", "run"]

SMALL = ("mlp_mnist", "shd_rsnn", "lenet_mnist", "lsm_4k")
BEST_UNICAST = {
    "mlp_mnist": 868.798767, "shd_rsnn": 111.917951, "lenet_mnist": 1794.667546, "nmnist_scnn": 4373.932350,
    "dvsgesture_scnn": 9876.960269, "vgg9_cifar_w16": 16312.376615, "resnet_mini": 21729.798293, "lsm_4k": 2571.662236,
    "cortical_10pct": 4924.763351, "rand1pct_10k": 103452.437352, "community_20k": 69406.476609, "smallworld_20k": 13681.284694,
}
"""Unicast hops of the best mapping known before nmap's: a prototype of the project (Mt-KaHyPar or greedy overlap, then annealing)."""
BEST_PACKETS = {"mlp_mnist": 548.455029, "shd_rsnn": 96.738836, "lenet_mnist": 588.674896, "lsm_4k": 910.892326}
"""Fewest packets known of the small networks, whatever the number of cores; same source."""
FEWEST = {"mlp_mnist": (8, 548.455029), "shd_rsnn": (4, 96.738836), "lenet_mnist": (32, 1023.6), "lsm_4k": (32, 910.892326)}
"""Fewest cores known of the small networks, and the fewest packets known with so many; same source."""
BEST_PLACED = {
    "geo_16": 318.886404, "geo_36": 875.359075, "geo_64": 1536.581327, "geo_100": 2804.576590, "geo_121": 3481.452577,
    "geo_1024": 47033.750411, "fc_64": 516.026494, "fc_256": 7303.276782, "fc_1024": 92833.221840, "cv_64": 135.529624,
    "cv_256": 764.328046, "cv_1024": 3528.594902, "cv_4096": 15342.849388,
}
"""Hops of the best placement known before nmap's: long annealing by a prototype of the project."""
PUBLISHED = {"fc_1024": (113_847, 99_745), "cv_1024": (15_747, 8_680), "cv_4096": (79_974, 48_451)}
"""Hops of the Hilbert curve, and after the force with the linear potential, in the logs of https://github.com/Jinouwen/mapping_cpp."""
SLICE_CORES = {"L": (1024, 4096, 131072), "S": (256, 1024, 65536)}
_QUICK_SECONDS = 20.0
_LINEAR_BAR, _ANNEALER_BAR, _FULL_BAR = 0.42, 1.01, 0.95
_MEAN_BAR, _KNOWN_BAR, _CORES_BAR, _DEAD_BAR = 0.44, 1.05, 0.02, 1.15
_DEAD_SHARE = 0.05
_DEAD_DRAWS = 3
_MOST_MEMORY = 2048.0
"""MiB."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that must hold: what, the number found, the limit it must not exceed; `found` None where it could not be found."""

    what: str
    found: float | None
    limit: float

    @property
    def passed(self) -> bool:
        """Whether it holds; the slack is that of rounded limits."""
        return self.found is not None and self.found <= self.limit * (1 + 1e-6)


@dataclass(frozen=True, slots=True)
class Solved:
    """One run of `solve`: its status, its printed numbers, CPU seconds of the whole process without numba's compiling, answer."""

    status: int
    numbers: dict[str, Any]
    seconds: float
    memory: float


def geometric_mean(values: Iterable[float]) -> float:
    """Return the geometric mean; not a number without values."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(table: Table) -> None:
    Console(width=None if Console().is_terminal else 190).print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < 2 else "right", no_wrap=True)
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.1f}"


def _ratio(value: float, other: float | None) -> str:
    return "–" if not other else f"{value / other:.3f}"


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="nmap-mapping-") as folder:
        yield Path(folder)


def _file(folder: Path, name: str) -> Path:
    """Return a problem's file, written unless it is there."""
    path = folder / f"{name}.npz"
    if not path.exists():
        _say(f"{name}: drawing")
        save(path, instances.make(name))
    return path


def _solve(path: Path, args: argparse.Namespace, *more: str, **options: Any) -> tuple[Solved, Path]:
    """Answer a problem in a process of its own."""
    chosen = {"effort": args.effort, "seed": args.seed, "partitioner": args.partitioner, **options}
    output = path.with_name(f"{path.stem}.{'-'.join(str(value) for value in chosen.values())}.answer.npz")
    command = [sys.executable, str(Path(__file__).with_name("mapping.py")), "solve", str(path), "-o", str(output), *more]
    for name, value in chosen.items():
        command += [f"--{name}", str(value)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    numbers = json.loads(done.stdout) if done.stdout.strip() else {}
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - numbers.get("compile_seconds", 0.0)
    return Solved(done.returncode, numbers, seconds, after.ru_maxrss / 1024), output


def _solved(path: Path, args: argparse.Namespace, repeat: int, **options: Any) -> list[Solved]:
    """Answer a problem with several seeds, the best by hops first."""
    runs = []
    for k in range(repeat):
        _say(f"{path.stem}: nmap, effort {args.effort}, seed {args.seed + k}")
        runs.append(_solve(path, args, **{**options, "seed": args.seed + k})[0])
    return sorted(runs, key=lambda run: (run.status, run.numbers.get("unicast_hops", math.inf)))


def _median(runs: list[Solved], name: str) -> float:
    return statistics.median(float(run.numbers[name]) for run in runs)


def _warm_up(folder: Path, args: argparse.Namespace) -> None:
    """Let numba compile what the runs need, so that their times hold none of it."""
    _say("compiling what is not compiled yet")
    for name in ("geo_16", "shd_rsnn"):
        _solve(_file(folder, name), args, effort=0)


def _check_names(names: list[str], known: Iterable[str]) -> list[str]:
    every = list(known)
    wrong = [name for name in names if name not in every]
    if wrong:
        raise SystemExit(f"error: no problem {', '.join(f'`{name}`' for name in wrong)} here; there are {', '.join(every)}")
    return names or every


_BASELINES: dict[str, Callable[[NeutralPartition], baselines.Answer]] = {
    "seq": baselines.sequential,
    "asplos23": baselines.asplos23,
    "asplos23rf": lambda problem: baselines.asplos23(problem, baselines.receptive_order),
    "mtkahypar": mtkahypar,
}


def _baseline_rows(table: Table, name: str, problem: NeutralPartition) -> dict[str, float]:
    """Add the baselines' rows; return their unicast hops."""
    hops: dict[str, float] = {}
    for method, solve in _BASELINES.items():
        _say(f"{name}: {method}")
        try:
            answer = solve(problem)
        except baselines.MissingError as reason:
            table.add_row(name, f"{method} skipped: {reason}")
            continue
        score = score_partition(problem, np.asarray(answer.part), answer.xy)
        if score.errors:
            raise AssertionError(f"baseline {method}: {score.errors}")
        hops[method] = score.unicast
        table.add_row(
            name, method, str(score.cores), "", _number(score.packets), "", _number(score.unicast), _number(score.multicast),
            _number(score.link), "", _seconds(answer.seconds), _ratio(score.unicast, hops.get("asplos23rf")),
            _ratio(score.unicast, BEST_UNICAST.get(name)),
        )
    return hops


_SUITE_COLUMNS = (
    "network", "method", "cores", ">=", "packets", ">=", "unicast", "multicast", "max link", "gap", "CPU s", "/asplos23rf", "/best known",
)


def _bars(title: str, bars: list[Bar]) -> int:
    """Print what must hold; return 1 where something does not."""
    if not bars:
        return 0
    table = _table(title, "bar", "", "found", "must be <=")
    for bar in bars:
        found = "no answer" if bar.found is None else f"{bar.found:.4g}"
        table.add_row(bar.what, "pass" if bar.passed else "MISSED", found, f"{bar.limit:.4g}")
    _print(table)
    return 0 if all(bar.passed for bar in bars) else 1


def _suite(args: argparse.Namespace) -> int:
    """Networks: partition and placement together."""
    names = _check_names(list(args.names), SMALL if args.quick and not args.names else instances.NETWORKS)
    table, bars, ratios = _table("networks", *_SUITE_COLUMNS), [], {}
    with _folder(args.problems) as folder:
        _warm_up(folder, args)
        for name in names:
            path = _file(folder, name)
            problem = read_problem(path)
            if not isinstance(problem, NeutralPartition):
                raise AssertionError(f"{name} is no partition problem")
            hops = _baseline_rows(table, name, problem)
            runs = _solved(path, args, args.repeat, slack=args.slack)
            bars += _network_bars(table, name, f"nmap effort {args.effort}", runs, hops.get("asplos23rf"))
            if runs[-1].status == 0 and "asplos23rf" in hops:
                ratios[name] = _median(runs, "unicast_hops") / hops["asplos23rf"]
            if name in SMALL:
                fewest = _solved(path, args, args.repeat, slack=0.0)
                _network_bars(table, name, "nmap slack 0", fewest, hops.get("asplos23rf"))
                bars += _fewest_bars(name, fewest)
            table.add_section()
    _print(table)
    if len(ratios) == len(instances.NETWORKS):
        bars.append(Bar("geometric mean of hops / asplos23rf, 12 networks", geometric_mean(ratios.values()), _MEAN_BAR))
        large = [ratio for name, ratio in ratios.items() if name not in ("mlp_mnist", "shd_rsnn")]
        bars.append(Bar("the same without mlp_mnist and shd_rsnn", geometric_mean(large), _MEAN_BAR))
    elif ratios:
        _say(f"geometric mean of hops / asplos23rf over these networks: {geometric_mean(ratios.values()):.3f}")
    return _bars("bars of the networks", bars)


def _network_bars(table: Table, name: str, method: str, runs: list[Solved], rf: float | None) -> list[Bar]:
    """Add nmap's row for a network; return its bars."""
    if runs[-1].status:
        table.add_row(name, f"{method}: exit {runs[-1].status} {runs[-1].numbers.get('reason', '')}")
        return [Bar(f"{name}: feasible", None, 0)]
    numbers, seconds = runs[0].numbers, statistics.median(run.seconds for run in runs)
    hops, packets = _median(runs, "unicast_hops"), _median(runs, "packets")
    table.add_row(
        name, method, str(numbers["cores"]), str(numbers["cores_bound"]), _number(packets), _number(numbers["packets_bound"]),
        _number(hops), _number(_median(runs, "multicast_hops")), _number(numbers["max_link"]), f"{_median(runs, 'hops_gap'):.0%}",
        _seconds(seconds), _ratio(hops, rf), _ratio(hops, BEST_UNICAST.get(name)),
    )
    bars = [Bar(f"{name}: hops / best known", hops / BEST_UNICAST[name], _KNOWN_BAR)]
    bars.append(Bar(f"{name}: gap of the cores", 1 - numbers["cores_bound"] / numbers["cores"], _CORES_BAR))
    if name in SMALL:
        bars += [Bar(f"{name}: packets", packets, BEST_PACKETS[name]), Bar(f"{name}: CPU seconds", seconds, _QUICK_SECONDS)]
    return bars


def _fewest_bars(name: str, runs: list[Solved]) -> list[Bar]:
    """Return the bars of a small network at the fewest cores."""
    cores, packets = FEWEST[name]
    if runs[-1].status:
        return [Bar(f"{name}, slack 0: feasible", None, 0)]
    bars = [Bar(f"{name}, slack 0: cores", runs[0].numbers["cores"], cores)]
    # With fewer cores than were known to be enough there is nothing to compare the packets with.
    if runs[0].numbers["cores"] >= cores:
        bars.append(Bar(f"{name}, slack 0: packets", _median(runs, "packets"), packets))
    return [*bars, Bar(f"{name}, slack 0: CPU seconds", statistics.median(run.seconds for run in runs), _QUICK_SECONDS)]


def _placement(args: argparse.Namespace) -> int:
    """Placement problems."""
    names = _check_names(list(args.names), instances.PLACEMENTS)
    columns = (
        "problem", "clusters", "Hilbert", "+ FD linear", "+ FD best", "nmap", ">=", "gap", "CPU s", "/linear", "/FD best", "/best known",
    )
    table, bars = _table(f"placement problems, effort {args.effort}", *columns), []
    with _folder(args.problems) as folder:
        _warm_up(folder, args)
        for name in names:
            path = _file(folder, name)
            problem = read_problem(path)
            if not isinstance(problem, NeutralPlacement):
                raise AssertionError(f"{name} is no placement problem")
            placed = [baselines.place_asplos23(problem, kind).xy for kind in (baselines.LINEAR, None)]
            linear, best = (score_placement(problem, xy).unicast for xy in placed)
            runs = _solved(path, args, args.repeat)
            if runs[-1].status:
                table.add_row(name, str(problem.K), f"exit {runs[-1].status}")
                bars.append(Bar(f"{name}: feasible", None, 0))
                continue
            hops, seconds = _median(runs, "unicast_hops"), statistics.median(run.seconds for run in runs)
            curve = score_placement(problem, baselines.hilbert(problem, problem.K)).unicast
            table.add_row(
                name, str(problem.K), _number(curve), _number(linear), _number(best), _number(hops),
                _number(runs[0].numbers["hops_bound"]), f"{_median(runs, 'hops_gap'):.0%}", _seconds(seconds), _ratio(hops, linear),
                _ratio(hops, best), _ratio(hops, BEST_PLACED.get(name)),
            )
            if name == "cv_1024":
                bars += [Bar("cv_1024: hops / Hilbert + FD linear", hops / linear, _LINEAR_BAR), Bar("cv_1024: CPU seconds", seconds, 5.0)]
            if name == "fc_256":
                bars.append(Bar("fc_256: hops / Hilbert + FD", hops / best, _FULL_BAR))
            if name == "geo_100":
                _say("geo_100: nmap, effort 2, for the best there is")
                longest = _solve(path, args, effort=2)[0].numbers.get("unicast_hops", math.inf)
                bars.append(Bar("geo_100: hops / best of a long annealing", hops / min(longest, BEST_PLACED[name]), _ANNEALER_BAR))
                bars.append(Bar("geo_100: CPU seconds, imports included", seconds, 2.0))
    _print(table)
    return _bars("bars of the placement problems", bars)


def _packing(args: argparse.Namespace) -> int:
    """Core counts of random sets of dense populations."""
    from solving import compiling, find

    from nmap.partition.partitioner import Budget
    from nmap.partition.problem import check_packing
    from nmap.testing.problems import slices

    plugin, greedy = find(args.partitioner), find("greedy")
    table, bars = _table(f"core counts, effort {args.effort}", "core", "populations", "greedy", "nmap", ">=", "gap", "CPU s"), []
    for kind, caps in SLICE_CORES.items():
        for populations in (10, 20, 40, 80, 160, 320):
            problem = slices(populations, caps, args.seed)
            _say(f"{populations} populations on {kind} cores")
            simple = greedy.pack(problem, Budget(args.effort, args.seed)).clusters
            with compiling() as compiled:
                begin = time.process_time()
                answer = plugin.pack(problem, Budget(args.effort, args.seed))
                seconds = time.process_time() - begin - compiled()
            check_packing(problem, answer)
            gap = 1 - answer.lower_bound / answer.clusters
            table.add_row(
                kind, str(populations), str(simple), str(answer.clusters), str(answer.lower_bound), f"{gap:.1%}", _seconds(seconds)
            )
            bars.append(Bar(f"{populations} populations on {kind} cores: gap", gap, _CORES_BAR))
    _print(table)
    return _bars("bars of the core counts", bars)


def _scale(args: argparse.Namespace) -> int:
    """Networks with millions of neurons, each in a process of its own."""
    from networks import LARGE

    table = _table("large networks", "network", "neurons", "synapses", "chips", "cores", ">=", "partition CPU s", "place CPU s", "peak MiB")
    bars = []
    for name in LARGE:
        _say(f"{name}: building and mapping")
        command = [sys.executable, str(Path(__file__).with_name("large.py")), name]
        for option in ("effort", "seed", "partitioner"):
            command += [f"--{option}", str(getattr(args, option))]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            table.add_row(name, f"exit {done.returncode}")
            bars.append(Bar(f"{name}: mapped", None, 0))
            continue
        told = json.loads(done.stdout)
        table.add_row(
            name, f"{told['neurons']:,}", f"{told['synapses']:,}", str(told["chips"]), str(told["cores"]), str(told["cores_bound"]),
            _seconds(told["partition_seconds"]), _seconds(told["place_seconds"]), f"{told['peak_mib']:.0f}",
        )
        bars.append(Bar(f"{name}: peak MiB", told["peak_mib"], _MOST_MEMORY))
    _print(table)
    return _bars("bars of the large networks", bars)


def _dead(args: argparse.Namespace) -> int:
    """Five per cent of the cores dead, drawn at random."""
    names = _check_names(list(args.names), SMALL if not args.names else instances.NETWORKS)
    title = f"{_DEAD_SHARE:.0%} of the cores dead, effort {args.effort}"
    table, bars = _table(title, "network", "dead cores", "intact", "dead", "ratio"), []
    with _folder(args.problems) as folder:
        _warm_up(folder, args)
        for name in names:
            path = _file(folder, name)
            problem = read_problem(path)
            if not isinstance(problem, NeutralPartition):
                raise AssertionError(f"{name} is no partition problem")
            cores = problem.mesh[0] * problem.mesh[1]
            intact = _solved(path, args, 1, slack=args.slack)[0]
            dead, runs = max(1, math.ceil(_DEAD_SHARE * cores)), []
            for draw in range(_DEAD_DRAWS):
                broken = folder / f"{name}.dead{draw}.npz"
                save(broken, with_dead(problem, np.random.default_rng([17, draw]).choice(cores, dead, replace=False)))
                runs += _solved(broken, args, 1, slack=args.slack)
            if intact.status or any(run.status for run in runs):
                bars.append(Bar(f"{name}: feasible with {dead} cores dead", None, 0))
                continue
            hops, whole = _median(runs, "unicast_hops"), intact.numbers["unicast_hops"]
            ratio = hops / whole if whole else 1.0
            table.add_row(name, str(dead), _number(whole), _number(hops), f"{ratio:.3f}")
            bars.append(Bar(f"{name}: hops / intact, median of {_DEAD_DRAWS} draws", ratio, _DEAD_BAR))
    _print(table)
    return _bars("bars with dead cores", bars)


def _baselines(args: argparse.Namespace) -> int:
    """The baselines alone: placement against the authors' logs, and networks."""
    names = _check_names(list(args.names), [*PUBLISHED, *instances.NETWORKS])
    logs = _table("ASPLOS'23 method, hops against the authors' logs", "problem", "", "ours", "log", "ratio")
    table = _table("baselines", *_SUITE_COLUMNS)
    with _folder(args.problems) as folder:
        for name in names:
            problem = read_problem(_file(folder, name))
            if isinstance(problem, NeutralPartition):
                _baseline_rows(table, name, problem)
                continue
            forced = baselines.place_asplos23(problem, baselines.LINEAR).xy
            placed = (("Hilbert", baselines.hilbert(problem, problem.K)), ("+ FD linear", forced))
            for (method, xy), published in zip(placed, PUBLISHED[name], strict=True):
                hops = score_placement(problem, xy).unicast
                logs.add_row(name, method, _number(hops), _number(published), _ratio(hops, published))
    for one in (logs, table):
        if one.row_count:
            _print(one)
    return 0


def run(args: argparse.Namespace) -> int:
    """Run one of the comparisons; return 1 where a bar is missed."""
    commands = {
        "suite": _suite, "placement": _placement, "packing": _packing, "scale": _scale, "dead": _dead, "baselines": _baselines,
    }
    return commands[args.command](args)
