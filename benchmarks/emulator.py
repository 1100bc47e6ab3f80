"""How fast nmap's emulator is, against other simulators and against the machine itself, in one run.

    python benchmarks/emulator.py                                        everything that is installed
    python benchmarks/emulator.py --install-peers FOLDER                 install the other simulators, one environment each, and end
    python benchmarks/emulator.py --peers-folder FOLDER                  use what was installed there
    python benchmarks/emulator.py --only W1,W3 --peers lava,brian2       some of it
    python benchmarks/emulator.py --quick                                without W4, with fewer repetitions

Workloads (made here, the same on every machine; `emulator_networks.py`):
    W1        784-512-256-10, dense, 10 % of the inputs spike            W4   100,000 recurrent neurons, 1.0e8 synapses
    W2        34x34x2, two convolutions, two pools, dense                W5   700-256 recurrent-20
    W3        10,000 recurrent neurons, 1.0e6 synapses                   pilotnet   lava-dl's PilotNet LIF, from ../shared/data
    mapped    each of them cut into many cores, against itself uncut     threads    two threads over samples
    cold      whole processes, with an empty and a full compile cache    mnist      `nmap run` on 10,000 samples, from ../shared/data

Every time is that of one thread but where the name says otherwise, and the median of several repetitions; the emulator is timed before
and after every peer. `ratio` is the peer's time over the emulator's, `best` the same with both sides' fastest repetition. Lava is given by
its interpreter in NMAP_LAVA_PYTHON, too. Exit status: 0 done, 1 a bar was missed or an exact peer gave other spikes, 2 wrong option.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import emulator_networks
import emulator_peers
import numpy as np
from emulator_table import Comparison, Limit, compared, milliseconds, times, verdict
from rich.console import Console
from rich.table import Table

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
_NETS = ("W1", "W2", "W3", "W4", "W5", "pilotnet")
_SECTIONS = (*_NETS, "mapped", "threads", "cold", "mnist")
_SAMPLES = {"W1": 256, "W2": 32, "W3": 1, "W4": 1, "W5": 256, "pilotnet": 1}
_CUT_NEURONS = {"W1": 64, "W2": 256, "W3": 128, "W5": 64, "pilotnet": 2048}
_MAPPED_BAR = 1.5
_MNIST_BAR = 2.0
_COLD = """
import sys, time
sys.path.insert(0, sys.argv[1])
import emulator_networks
net = emulator_networks.make("W1")
begin = time.perf_counter()
import emulator_ours
program = emulator_ours.unmapped(emulator_ours.quantized(net))
engine = emulator_ours.Emulator(program, emulator_ours.kernels())
engine.run(net.rasters[:1], net.steps)
print(time.perf_counter() - begin)
"""


class _Bench:
    """One run of the benchmark."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.console = Console(width=None if sys.stdout.isatty() else 180)
        self.repeat = 3 if args.quick else 7
        self.comparisons: list[Comparison] = []
        self.limits: list[Limit] = []
        self.told: dict[str, Any] = {}
        self.ok = True

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def check(self, state: str) -> str:
        self.ok &= not state.startswith(("MISSED", "DIFFERENT"))
        return state

    # ---- networks

    def net(self, name: str) -> tuple[Any, Any]:
        """Return a workload and its quantized network."""
        import emulator_ours

        if name == "pilotnet":
            folder = _SHARED / "lava_dl"
            net = emulator_ours.pilotnet(folder / "pilotnet_lif.net", folder / "pilotnet_lif_gt" / "image.npy")
        else:
            net = emulator_networks.make(name)
        return net, emulator_ours.quantized(net)

    def workload(self, name: str) -> None:
        import emulator_ours

        if name == "pilotnet" and not _SHARED.is_dir():
            self.say("pilotnet: not run, ../shared/data is not beside this checkout")
            return
        self.say(f"{name}: making the network")
        net, network = self.net(name)
        engine = emulator_ours.Engine(net, emulator_ours.unmapped(network), _SAMPLES[name])
        counts, digests, lists = engine.first()
        engine.measure(self.repeat)
        peers = [key for key in self.args.peers if name in emulator_peers.PEERS[key].workloads]
        spikes = {key: int(values.sum()) for key, values in counts.items()}
        with tempfile.TemporaryDirectory(prefix="nmap-bench-") as folder:
            if peers:
                emulator_networks.save(net, Path(folder))
            for key in peers:
                peer = emulator_peers.PEERS[key]
                self.say(f"{name}: {peer.title}")
                before = len(engine.ms)
                engine.measure(self.repeat)
                answer = emulator_peers.ask(key, name, Path(folder), self.args.peers_folder, 3, self.args.timeout)
                engine.measure(self.repeat)
                row = compared(name, key, peer.title, engine.ms[before:], answer.told, answer.missing, spikes, digests)
                self.check(verdict(row.ratio, row.bar) if row.ratio is not None else "")
                self.check(row.spikes)
                self.comparisons.append(row)
                self.say(f"    {'  '.join(filter(None, row.row[2:]))}")
        engine.measure(self.repeat)
        numbers = emulator_networks.numbers(net, counts, net.steps)
        layout, split = engine.layout(counts), engine.split(counts)
        ms = statistics.median(engine.ms)
        self.told[name] = {
            "title": net.title, "ms": engine.ms, "ms_single_sample": engine.one, "neurons": emulator_ours.neurons_of(net),
            "synapses": net.synapses, **numbers, **layout, "split_ms": split, "lowering_s": engine.lowering,
            "footprint_mib": engine.emulator.footprint(_SAMPLES[name], net.steps, dense=False) / 2**20,
            "bytes_per_synapse": layout["synapse_bytes"] / net.synapses,
        }
        self._limit(name, net, engine, lists, numbers["events"], ms, split)
        if "mapped" in self.args.only and name in _CUT_NEURONS:
            self._mapped(name, net, network, engine, digests)
        if "threads" in self.args.only and _SAMPLES[name] > 1:
            one, two = [], []
            for _ in range(self.repeat):
                one += engine.measure(1)
                two += engine.measure(1, jobs=2)
            self.told[name]["two_threads"] = statistics.median(one) / statistics.median(two)

    def _limit(self, name: str, net: Any, engine: Any, lists: Any, events: float, ms: float, split: dict[str, float]) -> None:
        import emulator_limits

        found: dict[str, float] = {}
        if name in ("W1", "W5", "W2"):
            link = net.links[0] if name != "W2" else net.links[2]
            rows, columns = net[link.source].size, -(-net[link.target].size // 128) * 128
            active = max(1, int(self.told[name]["activity"][link.source] * rows))
            found["int8 rows added in registers"] = emulator_limits.register_rows(rows, columns, active)
        elif name in ("W3", "W4"):
            parts = [(part, engine.emulator.layout.units[part.source]) for part in engine.emulator.layout.parts]
            source = net["net"]
            pieces, ids = [], np.zeros(0, np.int64)
            for part, unit in parts:
                if part.kind == "lists" and net.cells[unit.population].name == source.name:
                    # The engine's blocks of eight, padding included, as plain lists.
                    pointer, index = part.tables
                    flat = [np.ascontiguousarray(values).ravel() for values in (index, part.weights)]
                    pieces.append((pointer.astype(np.int64) * index.shape[1], *flat, int(flat[0].max()) + 1))
                    ids = unit.position[lists[source.name][1]]
            for bits in (16, 32):
                found[f"its own rows, int{bits}"] = emulator_limits.row_updates(pieces, ids, bits, 3 if name == "W4" else 5)
            for bits in (16, 32):
                found[f"random updates, int{bits}"] = emulator_limits.random_updates(source.size, bits)
        self.told[name]["limits"] = found
        alone = max(ms - split["neurons"] - split["finding"], 1e-9)
        # The faster one of each kind.
        for kind in dict.fromkeys(what.partition(",")[0] for what in found):
            what, limit = max(((w, v) for w, v in found.items() if w.startswith(kind)), key=lambda item: item[1])
            self.limits.append(Limit(name, what, events / ms / 1e6, events / alone / 1e6, limit))
            self.check(self.limits[-1].row[-1])

    def _mapped(self, name: str, net: Any, network: Any, engine: Any, digests: dict[str, str]) -> None:
        import emulator_ours

        self.say(f"{name}: cut into cores")
        program = emulator_ours.scattered(network, _CUT_NEURONS[name])
        cut = emulator_ours.Engine(net, program, _SAMPLES[name])
        same = cut.first()[1] == digests
        whole = []
        for _ in range(self.repeat):
            whole += engine.measure(1)
            cut.measure(1)
        ratio = statistics.median(cut.ms) / statistics.median(whole)
        self.told[name]["mapped"] = {"cores": len(program.cores), "ratio": ratio, "spikes": "equal" if same else "DIFFERENT"}
        self.check(verdict(ratio, _MAPPED_BAR, most=True))
        self.check("equal" if same else "DIFFERENT")

    # ---- the rest

    def dram(self) -> None:
        import emulator_limits

        rates = {row: emulator_limits.dram_rows(row, 128 if self.args.quick else 512) for row in (256, 1024, 3072)}
        self.told["machine"]["dram_rows_gb_per_s"] = rates
        shapes = {"256 rows of 128 (in L1)": (256, 128, 256), "784 rows of 512": (784, 512, 784)}
        self.told["machine"]["register_rows_g_events_per_s"] = {
            text: emulator_limits.register_rows(*shape) for text, shape in shapes.items()
        }

    def cold(self) -> None:
        self.say("cold start")
        took: dict[str, list[float]] = {"empty cache": [], "full cache": []}
        with tempfile.TemporaryDirectory(prefix="nmap-bench-") as cache:
            for turn in range(1 + self.repeat):
                begin = time.perf_counter()
                done = subprocess.run(
                    [sys.executable, "-c", _COLD, str(Path(__file__).parent)], check=True, capture_output=True, text=True,
                    env={**os.environ, "NUMBA_CACHE_DIR": cache},
                )
                took["full cache" if turn else "empty cache"].append(float(done.stdout.split()[-1]))
                self.told.setdefault("cold_process_s", []).append(time.perf_counter() - begin)
        self.told["cold"] = {key: statistics.median(values) for key, values in took.items()}

    def mnist(self) -> None:
        net, images = _SHARED / "trained" / "mnist_mlp_784_128_10_zero.nir", _SHARED / "datasets" / "mnist_test10k.npz"
        if not net.exists() or not images.exists():
            self.say("mnist: not run, ../shared/data is not beside this checkout")
            return
        self.say("mnist: 10,000 samples from the command line")
        with np.load(images) as file:
            pixels = file["images"].reshape(-1, 1, 784)
        rng = np.random.default_rng(6)
        inputs = np.concatenate([(rng.integers(0, 255, (1000, 16, 784)) < pixels[a : a + 1000]) for a in range(0, pixels.shape[0], 1000)])
        with tempfile.TemporaryDirectory(prefix="nmap-bench-") as folder:
            samples, bundle = Path(folder) / "samples.npz", Path(folder) / "bundle"
            np.savez_compressed(samples, inputs=inputs.astype(np.uint8))
            command = [sys.executable, "-m", "nmap.cli"]
            subprocess.run(
                [*command, "deploy", str(net), "--target", "loihi2", "-o", str(bundle), "-q"], check=True, stdout=subprocess.DEVNULL,
            )
            took = []
            for _ in range(1 + min(self.repeat, 5)):
                begin = time.perf_counter()
                subprocess.run(
                    [*command, "run", str(bundle), "--input", str(samples), "-o", str(Path(folder) / "out.npz"), "-q"], check=True,
                    stdout=subprocess.DEVNULL,
                )
                took.append(time.perf_counter() - begin)
        self.told["mnist"] = {"first_s": took[0], "warm_s": took[1:], "samples": int(inputs.shape[0]), "cores": os.cpu_count()}
        self.check(verdict(statistics.median(took[1:]), _MNIST_BAR, most=True))

    # ---- output

    def table(self, title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    def show(self) -> None:
        machine = self.told["machine"]
        self.console.print(f"{machine['processor']}, {machine['cores']} cores; Python {machine['python']}, {machine['packages']}")
        if self.comparisons:
            columns = ("workload", "peer", "ratio", "best", "bar", "", "nmap ms/step", "peer ms/step", "spikes", "version, note")
            self.table("Against other simulators, one thread", columns, [row.row for row in self.comparisons])
        if self.limits:
            columns = ("workload", "limit", "limit G/s", "nmap G/s", "synapses alone", "distance", "alone", "bar", "")
            self.table("Against the machine: synaptic events per second", columns, [row.row for row in self.limits])
        names = [name for name in _NETS if name in self.told]
        if names:
            columns = (
                "workload", "ms/step", "fastest", "one sample", "events/step", "bytes/event", "neurons ms", "finding ms", "MiB",
                "B/synapse", "2 threads", "cut into cores",
            )
            self.table("The emulator", columns, [self._ours(name) for name in names])
        for what, seconds in self.told.get("cold", {}).items():
            self.console.print(f"import of nmap to the first result of W1 in a new process, {what}: {seconds:.2f} s")
        if "mnist" in self.told:
            warm = statistics.median(self.told["mnist"]["warm_s"])
            state = verdict(warm, _MNIST_BAR, most=True)
            self.console.print(f"`nmap run`, 10,000 samples of MNIST x 16 steps: {warm:.2f} s warm (bar {_MNIST_BAR:g} s: {state})")
        for key, values in machine.items():
            if isinstance(values, dict):
                self.console.print(f"{key}: " + ", ".join(f"{what}: {value:.3g}" for what, value in values.items()))

    def _ours(self, name: str) -> tuple[str, ...]:
        told = self.told[name]
        mapped = told.get("mapped")
        cut = "" if mapped is None else f"{times(mapped['ratio'])} on {mapped['cores']}, {mapped['spikes']}"
        return (
            name, milliseconds(statistics.median(told["ms"])), milliseconds(min(told["ms"])), milliseconds(statistics.median(
                told["ms_single_sample"])), f"{told['events']:.3g}", f"{told['bytes_per_event']:.3g}",
            milliseconds(told["split_ms"]["neurons"]), milliseconds(told["split_ms"]["finding"]), f"{told['tables_mib']:.1f}",
            f"{told['bytes_per_synapse']:.2f}", times(told["two_threads"]) if "two_threads" in told else "", cut,
        )

    def run(self) -> int:
        import numba

        self.told["machine"] = {
            "processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version(),
            "packages": f"numpy {np.__version__}, numba {numba.__version__}",
        }
        try:
            for name in _NETS:
                if name in self.args.only:
                    self.workload(name)
            if any(name in self.args.only for name in _NETS):
                self.dram()
            if "cold" in self.args.only:
                self.cold()
            if "mnist" in self.args.only:
                self.mnist()
        except KeyboardInterrupt:
            # What was measured until then took long enough to be worth a table.
            self.ok = False
        self.show()
        if self.args.json is not None:
            self.told["comparisons"] = [{key: getattr(row, key) for key in Comparison.__slots__} for row in self.comparisons]
            self.args.json.write_text(json.dumps(self.told, indent=1, default=float), encoding="utf-8")
        return 0 if self.ok else 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _names(known: tuple[str, ...]) -> Any:
    def read(text: str) -> list[str]:
        wrong = [name for name in text.split(",") if name not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"no {', '.join(wrong)}; there are {', '.join(known)}")
        return text.split(",")

    return read


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_names(_SECTIONS), metavar="W1,W3", help=f"some of {', '.join(_SECTIONS)}")
    peers = tuple(emulator_peers.PEERS)
    parser.add_argument("--peers", type=_names(peers), default=list(peers), metavar="NAMES", help=f"some of {', '.join(peers)}")
    parser.add_argument("--no-peers", dest="peers", action="store_const", const=[], help="the emulator and the machine alone")
    parser.add_argument("--peers-folder", type=Path, metavar="FOLDER", help="where --install-peers installed them")
    parser.add_argument("--install-peers", type=Path, metavar="FOLDER", help="install them there (about 4 GB) and end")
    parser.add_argument("--quick", action="store_true", help="without W4, with fewer repetitions")
    parser.add_argument("--timeout", type=float, default=900.0, metavar="SECONDS", help="of one peer on one workload (default 900)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured there")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Install or measure; return the exit status."""
    args = _parser().parse_args(arguments)
    if args.install_peers is not None:
        outcome = emulator_peers.install(args.install_peers)
        for name, missing in outcome.items():
            print(f"{name}: {missing or 'installed'}")
        return 0
    if args.only is None:
        args.only = [name for name in _SECTIONS if not (args.quick and name == "W4")]
    elif not any(name in args.only for name in _NETS) and {"mapped", "threads"} & set(args.only):
        args.only = [*args.only, *(name for name in _CUT_NEURONS)]
        args.peers = []
    return _Bench(args).run()


if __name__ == "__main__":
    sys.exit(main())
