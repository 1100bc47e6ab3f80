"""Read every network in a folder and compare what it computes with the recordings beside it.

    python benchmarks/readers.py ../shared/data             every .nir and .net file below the folder
    python benchmarks/readers.py ../shared/data --long      all 100 samples of the convolutional network, about a minute

Prints a table: format, size, seconds to read, what was assumed and by whom, and in how many cells (sample, step, neuron) the `float`
level differs from the reference. Recordings are found by name: `NAME.npz` with `inputs` and `reference_spikes` beside `NAME.nir`,
`NAME_verified.npz` beside `NAME.net`, and the published traces that `golden/` and `datasets/` hold. Files without one say so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from rich.console import Console
from rich.table import Table

from nmap.diagnostics import NmapError
from nmap.network import Network
from nmap.readers import read
from nmap.simulate.floating import simulate

Reference: TypeAlias = Callable[[Path, Path, bool], Iterator[str]]


def beside(file: Path, root: Path, long: bool) -> Iterator[str]:
    """Compare with `inputs` and `reference_spikes` in the .npz file of the same name."""
    with np.load(file.with_suffix(".npz")) as stored:
        inputs, spikes, labels = stored["inputs"], stored["reference_spikes"], stored["labels"]
    network = read(file)
    run = simulate(network, inputs)
    yield f"{differing(run.spikes[network.outputs[0]], spikes)}, accuracy {run.accuracy(labels):.3f}"


def verified(file: Path, root: Path, long: bool) -> Iterator[str]:
    """Compare every layer with `s0`, `s1`, ... (neurons, time)."""
    with np.load(file.with_name(f"{file.stem}_verified.npz")) as stored:
        network, layers = read(file), [name for name in stored if name[0] == "s" and name[1:].isdecimal()]
        run = simulate(network, stored["input"].T[None], record=[f"layer{name[1:]}" for name in layers])
        for name in layers:
            yield f"layer {name[1:]}: {differing(run.spikes[f'layer{name[1:]}'][0].T, stored[name])}"


def braille(file: Path, root: Path, long: bool) -> Iterator[str]:
    """Compare the hidden layer with what three platforms published, each under its own conventions."""
    with np.load(root / "golden" / "braille_bias_zero.npz") as stored:
        for platform, options in (("snntorch", {"reset": "zero"}), ("norse", {}), ("spyx", {})):
            network = read(file, source=platform, **options)
            hidden = next(p.name for p in network.populations if p.size == 38)
            ours = simulate(network, stored["input_spikes"][None], record=[hidden]).spikes[hidden][0]
            name = next(n for n in stored if n.startswith(f"{platform}__"))
            yield f"{platform}: {differing(ours, stored[name])}"


def single(file: Path, root: Path, long: bool) -> Iterator[str]:
    """Compare one neuron's voltage and spikes with three platforms' traces; two of them scale v by tau/(r dt) = 25."""
    platforms = (("norse", {"source": "norse"}, 1), ("snntorch", {"source": "snntorch", "reset": "zero"}, 25), ("spinnaker2", {}, 25))
    for platform, options, unit in platforms:
        trace = np.loadtxt(root / "golden" / f"lif_{platform}.csv", delimiter=",")
        network = read(file, dt=1e-4, **options)
        name = network.outputs[0]
        run = simulate(network, trace[None, :, :1], record=[name, f"{name}:v"])
        error = float(np.abs(run.v[name][0, :, 0] - trace[:, 1] / unit).max())
        yield f"{platform}: {differing(run.spikes[name][0, :, 0], trace[:, 2])}, v within {error:.1e}"


def digits(file: Path, root: Path, long: bool) -> Iterator[str]:
    """Compare the outputs on simulated recordings of digits."""
    network, samples = read(file, source="sinabs"), 100 if long else 4
    with np.load(root / "datasets" / "simulated_nmnist100_frames.npz") as stored:
        inputs, labels = stored["inputs"][:samples, :300], stored["labels"][:samples]
    steps = inputs.shape[1]
    with np.load(root / "datasets" / "simulated_nmnist_ref_cnn_sinabs.npz") as stored:
        spikes = np.unpackbits(stored["out_spikes_packed"], axis=0).transpose(1, 0, 2)[:samples]
    run = simulate(network, inputs, steps=300)
    right = int(np.sum(run.counts().argmax(1) == labels))
    yield f"sinabs: {differing(run.spikes[network.outputs[0]], spikes[:, :300])}, {right} of {samples} right ({steps} steps of input)"


def differing(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Say in how many cells two recordings differ."""
    return f"{int(np.sum(ours.astype(np.int64) != theirs))} of {theirs.size} differ"


PUBLISHED: dict[str, Reference] = {
    "braille_noDelay_bias_zero.nir": braille, "braille_noDelay_bias_zero_subgraph.nir": braille, "lif_norse.nir": single,
    "cnn_sinabs.nir": digits,
}


def reference_of(file: Path) -> Reference | None:
    """Return how a file is compared, or None where nothing was recorded."""
    if file.with_suffix(".npz").exists():
        return beside
    if file.with_name(f"{file.stem}_verified.npz").exists():
        return verified
    return PUBLISHED.get(file.name)


def assumed(network: Network) -> str:
    """Return the assumptions, those of a kind together."""
    found: dict[str, list[str]] = {}
    for a in network.assumptions:
        found.setdefault(a.source, []).append(f"{a.name} {a.value}")
    return "; ".join(f"{source}: {', '.join(values)}" for source, values in found.items())


def main() -> None:
    """Read, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--long", action="store_true", help="all samples of the convolutional network")
    args = parser.parse_args()
    table = Table("file", "format", "populations / neurons / synapses", "read s", "assumed", "warnings, notes", "against its reference")
    for file in sorted(p for suffix in ("*.nir", "*.net") for p in args.folder.rglob(suffix)):
        start = time.perf_counter()
        try:
            network = read(file)
        except NmapError as error:
            told = "; ".join(f"{d.code}: {d.message}" for d in error.diagnostics)
            table.add_row(file.name, "refused", "", f"{time.perf_counter() - start:.3f}", "", told, "")
            continue
        seconds, compare = time.perf_counter() - start, reference_of(file)
        size = f"{sum(p.neuron is not None for p in network.populations)} / {network.neurons} / {network.synapses}"
        told = "\n".join(compare(file, args.folder, args.long)) if compare is not None else "none recorded"
        oddities = f"{len(network.diagnostics)}, {len(network.notes)}"
        table.add_row(file.name, network.format, size, f"{seconds:.3f}", assumed(network), oddities, told)
    Console(width=230 if not Console().is_terminal else None).print(table)


if __name__ == "__main__":
    main()
