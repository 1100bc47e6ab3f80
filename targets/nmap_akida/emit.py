"""Write a mapped network as a model for the vendor's package: its open JSON form, a script that runs it, and the map of its NPs.

None of this needs the package. Where it is installed, its own files are added: the model in its binary form and the chip's program.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np

from nmap.connectivity import Array
from nmap.program import Program
from nmap.quantized import QuantizedNetwork
from nmap.target.spec import ChipSpec
from nmap_akida.form import Form, Mode, mode_of
from nmap_akida.layers import Layer, layers_of
from nmap_akida.model import CORE_MAP, MODEL, VERSION, layer_names, model_bytes
from nmap_akida.units import chip, class_of, pass_of
from nmap_akida.vendor import extra_files

__all__ = ["SCHEMA", "emit", "files_of", "fully_connected"]

SCHEMA = "nmap.akida/1"
"""Of the core map."""

_FORMS = {
    Form.CONV: "convolution", Form.SEPARABLE: "separable convolution", Form.IMAGE: "input convolution",
}
_README = """\
Model of a spiking network, made by nmap for {title} ({variant}).

  model.akida.json   the network as the vendor's package akida reads it (Model.from_json): layers, weights, thresholds
  run.py             runs samples with it, on a board or on the package's software engine, and says on which
  core_map.json      which layer computes which population, and which NPs nmap counts for it: an estimate, see below
  model.fbz          the model in the package's binary form; only where the package was installed when nmap wrote these files
  program_*.bin      what the chip is loaded with; likewise

  python run.py SAMPLES.npz [-o OUT.npz]    on a board that takes the model, else on the software engine
  python run.py SAMPLES.npz --device board  on a board, or not at all; --device software never asks for one
  python run.py --help                      all options

SAMPLES.npz holds `inputs` (samples, time, {input_shape}), {given}, and `labels` (samples,) if you have them.
OUT.npz gets `spikes` (samples, {axis}, {output_shape}) and `counts`, their sums, of the output population `{output}`,
in the network's own time.

The package. {pip}
It is BrainChip's, for Python 3.10, 3.11 and 3.12 on Linux (x86-64, ARM64) and Windows. It comes with a licence of its own, which is
yours to read and to accept: nmap neither contains the package nor speaks for it. The model is written for version {version}; run.py tells
a package of another version so, and gives it the model as one of its own.

Time. {time}

Tensors. The package takes tensors (N, width, height, channels). With these axes a fully connected layer numbers its inputs as nmap does, in
C order of (channels, height, width). Kernels of hidden convolutions are written mirrored, for the package applies true convolutions.

NPs. How the chip packs weights into its memories is not published. The NPs in core_map.json are nmap's estimate, from the published sizes
of memories; the package makes its own choice when it maps the model. run.py maps with hw_only=True: the whole model is on the board, or it
is not run there. With the package installed, `nmap check` says what the package's own mapping needs.
"""


def emit(network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
    """Return the files of the artefact by relative path; without the vendor's package, the same input gives the same bytes.

    Args:
        network: the quantized network, a chain of layers.
        program: its mapping.

    Raises:
        ValueError: the layers do not make a model, or the program is not one of the network.
    """
    made = files_of(network, program)
    return {**made, **extra_files(made, program.variant)}


def files_of(network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
    """Return those files that are the same whether or not the vendor's package is there; see `emit`."""
    layers, spec = layers_of(network), chip()
    connected = fully_connected(program, layers)
    core_map = json.dumps(_core_map(network, program, layers, connected), separators=(",", ":")) + "\n"
    return {
        MODEL: model_bytes(layers, connected),
        "run.py": _environment().get_template("run.py.j2").render(_context(network, layers, spec, program)).encode(),
        CORE_MAP: core_map.encode(),
        "README.txt": _readme(network, layers, program, spec).encode(),
    }


def fully_connected(program: Program, layers: tuple[Layer, ...]) -> frozenset[str]:
    """Return the dense layers that are whole on a core which computes fully connected layers; others are convolutions."""
    cores: dict[str, list[int]] = {}
    for group in program.groups:
        cores.setdefault(program.populations[group.population].name, []).append(group.core)
    return frozenset(
        layer.name for layer in layers
        if layer.form is Form.DENSE and len(on := cores.get(layer.name, [])) == 1 and class_of(program, on[0]) in ("fnp2", "fnp3")
    )


def _environment() -> jinja2.Environment:
    # The template writes Python, not HTML; every name from the user's file goes through repr.
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: files("nmap_akida").joinpath(name).read_text(encoding="utf-8")),
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False,
    )


def _context(network: QuantizedNetwork, layers: tuple[Layer, ...], spec: ChipSpec, program: Program) -> dict[str, Any]:
    port, output = network[network.inputs[0]], network[network.outputs[0]]
    return {
        "title": f"{spec.title}, {program.variant}", "window": program.window, "input": repr(port.name), "input_shape": repr(port.shape),
        "image": repr(layers[0].in_shape), "highest": highest(network, layers), "output": repr(output.name),
        "output_shape": repr(output.shape), "series": _series(), "late": _late(network),
    }


def highest(network: QuantizedNetwork, layers: Sequence[Layer]) -> int:
    """Return the largest input value of an inference for which the sums are proved to stay in range; the width's largest at most."""
    widest = (1 << layers[0].input_bits) - 1
    return min(widest, network.settings.get(f"{network.inputs[0]}.highest", widest))


def _late(network: QuantizedNetwork) -> int:
    """Return the steps by which the network's own time delays its output, which an inference does not."""
    return sum(population.kernel is not None for population in network.populations) - network.latency


def _series() -> str:
    return VERSION.rpartition(".")[0]


def _core_map(network: QuantizedNetwork, program: Program, layers: tuple[Layer, ...], connected: frozenset[str]) -> dict[str, Any]:
    port, output = network[network.inputs[0]], network[network.outputs[0]]
    return {
        "schema": SCHEMA, "target": program.target, "variant": program.variant, "mode": mode_of(program.settings).name.lower(),
        "window": program.window, "latency": program.latency, "late": _late(network),
        "inputs": {"population": port.name, "shape": list(port.shape), "bits": layers[0].input_bits, "highest": highest(network, layers)},
        "outputs": {"population": output.name, "shape": list(output.shape), "bits": layers[-1].output_bits},
        "nps_are": "an estimate by nmap from published sizes of memories; the vendor's package makes its own choice",
        "layers": [
            {
                "name": name, "population": layer.pooled or layer.name, "unobserved": layer.name if layer.pooled else None,
                "form": _FORMS.get(layer.form) or ("fully connected" if layer.name in connected else "convolution with a kernel of 1"),
                "in_shape": list(layer.in_shape), "out_shape": list(layer.out_shape),
                "pooling": "sum over the image" if layer.global_pool else "max 2 x 2" if layer.pooled else None,
                "weight_bits": layer.weight_bits, "input_bits": layer.input_bits, "output_bits": layer.output_bits,
                "nps": list(_nps(program, layer.name)),
            }
            for name, layer in zip(layer_names(layers), layers, strict=True)
        ],
    }


def _nps(program: Program, population: str) -> Iterator[dict[str, Any]]:
    """Yield where the parts of a layer lie: the pass, the number of the NP by nmap's own count, its kind, and the neurons."""
    cores = chip().variants[program.variant].cores
    for group in program.groups:
        if program.populations[group.population].name != population:
            continue
        place = {
            "pass": pass_of(program, group.core), "number": program.cores[group.core].core % cores, "kind": class_of(program, group.core),
        }
        if isinstance(group.slice, tuple):
            yield {**place, "box": [list(span) for span in group.slice]}
        else:
            yield {**place, "neurons": _runs(group.slice)}


def _runs(numbers: Array) -> list[list[int]]:
    """Return ascending numbers as runs: first and one past the last."""
    ends = np.flatnonzero(np.diff(numbers) != 1)
    first, last = numbers[np.concatenate([[0], ends + 1])], numbers[np.concatenate([ends, [-1]])]
    return np.stack([first, last + 1], axis=1).tolist()


def _readme(network: QuantizedNetwork, layers: tuple[Layer, ...], program: Program, spec: ChipSpec) -> str:
    port, output, window = network[network.inputs[0]], network[network.outputs[0]], program.window
    top = highest(network, layers)
    rate = mode_of(program.settings) is Mode.RATE
    return _README.format(
        title=spec.title, variant=program.variant, input_shape=", ".join(map(str, port.shape)), output=output.name,
        output_shape=", ".join(map(str, output.shape)), pip=f'pip install "akida=={_series()}.*"', version=VERSION,
        given=f"whole numbers whose sum over {window} time steps is at most {top}" if rate else f"whole numbers from 0 to {top}",
        axis=f"time / {window}" if rate else "time",
        time=(
            f"One inference stands for {window} time steps: run.py gives it how often each input was sent in them, and it gives how often\n"
            "each neuron fires if all input comes before the first spike. When neurons fire within these steps is not told, and where\n"
            "excitation and inhibition come at different times, counts can differ from those of the network step by step."
            if rate else "Every time step of a sample is an inference of its own; Akida remembers nothing from one to the next."
        ),
    )
