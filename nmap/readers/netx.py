"""Read lava-dl netx files (`.net`, HDF5): a chain of layers of integer neurons.

Time, reset and comparison are the exporting framework's own: one hop takes one step, decays are 12-bit integers, v is reset to
zero where v > vThMant. In units where a weight of 1 counts 1, the state's resolution is 1/64 (the chip shifts weights by 6
bits), a layer's bias acts as it is stored (its exponent is 6), and the threshold is vThMant. Kernels are stored so that the net
effect is torch's cross-correlation on (channels, height, width), and `flatten` is C order.

What the files hold is written by lava-dl's `slayer/block/base.py` (input, flatten, dense, dense_rec, conv, pool, convT, unpool), by
genn-team/ml_genn_netx (dense and dense_rec, with `delay_rec` and one delay per synapse), and described, but written by nobody, in
lava-dl's `netx/README.md` (average, concat). Where lava-dl's trainer (SLAYER) and its reader (netx) disagree, the reading is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Literal, TypeAlias

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.diagnostics import Findings
from nmap.network import Assumption, Conventions, Network, Neuron, Population, Projection, Provenance, SigmaDelta
from nmap.readers import netx_connections as connections
from nmap.readers import netx_neurons as neurons
from nmap.readers.conventions import Periodic, Stated
from nmap.readers.hdf5 import Tree
from nmap.readers.netx_connections import Built
from nmap.readers.netx_entries import Layer, spread
from nmap.readers.netx_layers import ENTRIES, list_layers, model_of, refuse_unsupported

__all__ = ["read_netx"]

Receptor: TypeAlias = Literal["input", "imaginary"]

_DENSE = ("dense", "dense_rec", "dense_comp")
_KERNELS: dict[str, Callable[[Layer, Array, tuple[int, ...]], Built | None]] = {
    "conv": connections.convolution,
    "pool": connections.pool,
    "convT": connections.transposed,
    "unpool": connections.unpool,
}
_MAX_DELAY = 62
_MAX_PARTS = 256


def read_netx(
    tree: Tree, sha256: str, *, dt: float | None, reset: str | None, source: str | None, periodic: Periodic | None = None,
) -> Network:
    """Read an open netx file.

    Args:
        tree: the file.
        sha256: its hash.
        dt, reset, source: the command line's conventions; a netx file leaves none of them open.
        periodic: the command line's periodic reset, of which a file says nothing.

    Raises:
        NmapError: with everything that is wrong with the file.
    """
    return _Reader(tree, sha256).read(dt, reset, source, periodic or Periodic())


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One population of what a layer passes on.

    Args:
        population: the population.
        late: (n,) steps by which its spikes reach the next layer later, or None.
    """

    population: Population
    late: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Stream:
    """What a layer passes on.

    Args:
        parts: populations one behind the other along the channels.
        shape: of all parts together.
        hops: steps that the input takes to get here.
    """

    parts: tuple[_Part, ...]
    shape: tuple[int, ...]
    hops: int = 0

    @property
    def size(self) -> int:
        return prod(self.shape)


class _Reader:
    def __init__(self, tree: Tree, sha256: str) -> None:
        self.tree, self.findings, self.sha256 = tree, tree.findings, sha256
        self.populations: list[Population] = []
        self.projections: list[Projection] = []
        self.notes: list[str] = []
        self.changed = Findings()
        self.biased = False
        # What each layer passes on; None where a fault of the file leaves it open.
        self.streams: list[_Stream | None] = []

    def read(self, dt: float | None, reset: str | None, source: str | None, periodic: Periodic) -> Network:
        if reset not in (None, "zero"):
            self.findings.error(
                "NM111",
                f"the reset `{reset}` contradicts the file: neurons of a netx file reset to zero",
                where=self.tree.name,
                help=("leave --reset out",),
            )
        if source not in (None, "lava"):
            self.findings.error(
                "NM111",
                f"the exporter `{source}` contradicts the file, which is lava-dl's",
                where=self.tree.name,
                help=("leave --source out",),
            )
        if dt is not None:
            self.notes.append(f"dt of {dt:.6g} s says how long a step lasts; the parameters of a netx file count steps already")
        clearing, cleared = periodic.settle(Stated(), self.findings)
        layers = list_layers(self.tree, self.changed, self.notes)
        refused = refuse_unsupported(layers)
        if [layer.number for layer in layers] != list(range(len(layers))):
            self.findings.raise_errors()
        for layer in layers:
            self.streams.append(self._declared(layer) if layer.number in refused else self._layer(layer))
        self.findings.raise_errors()
        outputs = self._outputs()
        self.findings.raise_errors()
        if self.biased:
            self.notes.append("biases act from step 0 in every layer, as on Lava; in lava-dl's training they start with the first input")
        network = Network(
            file=self.tree.name, format="netx", sha256=self.sha256,
            populations=tuple(self.populations), projections=tuple(self.projections),
            inputs=("input",), outputs=outputs, conventions=Conventions(
                dt, "zero", "steps", ">", in_steps=dt is not None, reset_interval=clearing.interval, reset_offset=clearing.offset
            ),
            assumptions=(*self._assumptions(dt), *cleared),
            notes=tuple(self.notes), diagnostics=tuple(self.changed),
        )  # fmt: skip
        network.check()
        return network

    def _assumptions(self, dt: float | None) -> tuple[Assumption, ...]:
        """Return what the format settles for the neurons that the file has."""
        models = [p.neuron for p in self.populations if p.neuron is not None]
        found = [Assumption("dt", "steps", "file", "netx stores decays per step")]
        if dt is not None:
            found = [Assumption("dt", f"{dt:.6g} s", "command line", "--dt"), Assumption("unit", "steps", "file", found[0].evidence)]
        if any(isinstance(n, Neuron) and n.spiking and n.adaptation is None for n in models):
            found.append(Assumption("reset", "zero", "file", "the only reset of netx's CUBA neurons"))
            found.append(Assumption("comparison", ">", "file", "netx's CUBA neurons fire where v > vThMant"))
        if any(not isinstance(n, SigmaDelta) for n in models):
            found.append(Assumption("decay", "steps", "file", "12-bit integers, states truncated toward zero"))
        found.append(Assumption("timing", "1 step per layer", "file", "netx runs on Lava, where a spike acts in the next step"))
        return tuple(found)

    def _outputs(self) -> tuple[str, ...]:
        """Return the populations that the last layer passes on."""
        final = self.streams[-1] if self.streams else None
        parts = () if final is None else tuple(part for part in final.parts if part.population.neuron is not None)
        if not parts:
            self.findings.error("NM108", "the file has no layer with neurons", where=f"{self.tree.name}:/layer")
        for part in parts:
            if part.late is not None:
                self.findings.error(
                    "NM104",
                    f"`{part.population.name}` is the last and delays what it sends, which nmap cannot represent",
                    where=f"{part.population.where}/delay",
                    why="lava-dl delays a layer's output behind its loop and its bias; only a layer behind it could take that over",
                )
        return tuple(dict.fromkeys(part.population.name for part in parts))

    def _layer(self, layer: Layer) -> _Stream | None:
        """Read one layer; return what it passes on, as far as that is known."""
        unknown = sorted(set(layer.group.names()) - ENTRIES[layer.kind])
        if unknown:
            self.notes.append(f"{layer.title} has {', '.join(f'`{u}`' for u in unknown)}, which netx does not use there; ignored")
        shape = layer.shape()
        before = self.streams[-1] if self.streams else None
        if layer.kind == "input":
            return self._input(layer, shape)
        if layer.kind == "flatten":
            if shape is not None and before is not None and prod(shape) != before.size:
                layer.mismatch(f"layer {layer.number} (flatten) states {prod(shape)} values, but {before.size} arrive", "shape")
            return None if before is None else replace(before, shape=(before.size,))
        if layer.kind == "concat":
            return self._concat(layer, shape)
        if layer.kind == "average":
            return self._average(layer, shape, before)
        faults = len(self.findings)
        passed = self._synapses(layer, shape)
        return self._declared(layer) if passed is None and len(self.findings) > faults else passed

    def _declared(self, layer: Layer) -> _Stream | None:
        """Return what a layer that cannot be read says that it passes on, so that what follows can be checked."""
        shape = layer.shape()
        return None if shape is None else _Stream((_Part(Population(f"layer{layer.number}", shape, None, layer.group.where)),), shape)

    def _input(self, layer: Layer, shape: tuple[int, ...] | None) -> _Stream | None:
        if shape is None:
            if "shape" not in layer.group:
                self.findings.error("NM103", "the input block has no `shape`", where=layer.group.place("shape"))
            return None
        port = Population("input", shape, None, layer.group.where)
        self.populations.append(port)
        affine = []
        for entry, default in (("weight", 64), ("bias", 0)):
            value = layer.finite(entry) if entry in layer.group else None
            affine.append(int(value.ravel()[0]) if value is not None and value.size else default)
        if layer.neuron is None:
            return _Stream((_Part(port),), shape)
        claimed = self._claimed(layer, shape) and self.tree.claim(3 * port.size, 8, str(layer.group.where), "the input block")
        read = neurons.read_model(layer, model_of(layer), shape, None) if claimed else None
        if read is None:
            return _Stream((_Part(port),), shape)
        population = Population("layer0", shape, read.model, layer.group.where, 1)
        self.populations.append(population)
        one_to_one: Connectivity = Sparse.diagonal(np.ones(port.size))
        if len(shape) == 3:
            # A kernel per channel instead of a list of synapses: images have hundreds of thousands of pixels.
            one_to_one = Conv2d(np.ones((shape[0], 1, 1, 1)), (shape[0], shape[1], shape[2]), groups=shape[0])
        self.projections.append(Projection("input", "input", population.name, one_to_one, None, 1, layer.group.where))
        self.notes.append(
            f"the input block scales by weight {affine[0]} and bias {affine[1]}, which netx leaves to the caller: feed integers scaled so"
        )
        return _Stream((_Part(population),), shape, 1)

    def _concat(self, layer: Layer, shape: tuple[int, ...] | None) -> _Stream | None:
        """Join the previous layer and those that `layers` lists."""
        if "layers" not in layer.group:
            self.findings.error("NM103", f"{layer.title} has no `layers`", where=layer.group.place("layers"))
            return None
        listed = layer.integers("layers", 0, _MAX_PARTS)
        if listed is None:
            return None
        ahead = [k for k in listed if k >= layer.number]
        if ahead:
            layer.refuse(
                f"{layer.title} reads layer {ahead[0]}, which comes later", "layers", "nothing tells the shape and delay of such a loop",
                "a loop within a layer is of type dense_rec",
            )
            return None
        numbers = listed if layer.number - 1 in listed else (layer.number - 1, *listed)
        streams = [self.streams[k] for k in numbers]
        known = [s for s in streams if s is not None]
        if len(known) < len(streams):
            return None
        count = sum(len(s.parts) for s in known)
        if count > _MAX_PARTS:
            self.findings.error(
                "NM110", f"{layer.title} joins {count} layers; the limit is {_MAX_PARTS}", where=layer.group.place("layers")
            )
            return None
        flat = any(len(s.shape) != 3 for s in known)
        if not flat and len({s.shape[1:] for s in known}) > 1:
            shapes = ", ".join(str(s.shape) for s in known)
            layer.mismatch(f"{layer.title} joins shapes {shapes}, which differ beyond their channels", "layers")
            return None
        size = sum(s.size for s in known)
        joined = (size,) if flat else (sum(s.shape[0] for s in known), *known[0].shape[1:])
        if shape is not None and prod(shape) != size:
            layer.mismatch(
                f"{layer.title} states {prod(shape)} values, but {size} arrive", "shape", f"from layers {', '.join(map(str, numbers))}"
            )
            return None
        self.notes.append(
            f"{layer.title} joins layers {', '.join(map(str, numbers))} in this order, as lava-dl describes it; netx does not read it"
        )
        return _Stream(tuple(part for s in known for part in s.parts), joined, max(s.hops for s in known))

    def _average(self, layer: Layer, shape: tuple[int, ...] | None, before: _Stream | None) -> _Stream | None:
        """Add units that hold the means of equal runs of consecutive neurons."""
        if shape is None:
            if "shape" not in layer.group:
                self.findings.error("NM103", f"{layer.title} has no `shape`", where=layer.group.place("shape"))
            return None
        size = prod(shape)
        passed = Population(f"layer{layer.number}", shape, None, layer.group.where)
        if before is not None and (before.size % size or before.size == size):
            if before.size == size:
                why = "lava-dl gives its time decimation the same type; that one changes the length of a step and is not supported"
                layer.refuse(f"{layer.title} states as many outputs as arrive, {size}", "shape", why)
            else:
                layer.mismatch(f"{layer.title} states {size} outputs, which {before.size} neurons do not divide into", "shape")
        elif before is not None and len(before.parts) > 1:
            layer.refuse(f"{layer.title} reads a concat block, which nmap does not support", advice="dense and conv may read one")
        elif before is not None and self._claimed(layer, shape):
            mean = connections.grouped_mean(layer, size, before.size)
            if mean is not None:
                part = before.parts[0]
                delays = None if part.late is None else part.late[mean.indices]
                passed = replace(passed, neuron=neurons.mean(size), hops=before.hops)
                self.populations.append(passed)
                name = f"average{layer.number}"
                self.projections.append(Projection(name, part.population.name, passed.name, mean, None, 0, layer.group.where, delays))
                self.notes.append(f"{layer.title} gives the means of {before.size // size} neurons in the same step, as in lava-dl")
        return _Stream((_Part(passed),), shape, 0 if before is None else before.hops)

    def _weights(self, layer: Layer) -> dict[Receptor, Array] | None:
        """Return the integer weights by receptor: `input`, and `imaginary` of complex ones."""
        if "weight" not in layer.group:
            self.findings.error("NM103", f"{layer.title} has no `weight`", where=layer.group.place("weight"))
            return None
        if not layer.group.is_group("weight"):
            real = layer.whole("weight", "weights")
            if real is not None and model_of(layer) in neurons.RESONATORS:
                self.notes.append(f"the weights of layer {layer.number} are real: its neurons get no imaginary input")
            return None if real is None else {"input": real}
        inner = layer.group.group("weight")
        found: dict[Receptor, Array] = {}
        pairs: tuple[tuple[str, Receptor], ...] = (("real", "input"), ("imag", "imaginary"))
        for entry, receptor in pairs:
            if inner is None or entry not in inner:
                self.findings.error("NM103", f"{layer.title} has no `weight/{entry}`", where=layer.group.place(f"weight/{entry}"))
                continue
            values = layer.whole(entry, f"weights ({entry})", inner)
            if values is not None:
                found[receptor] = values
        if len(found) == 2 and found["input"].shape != found["imaginary"].shape:
            layer.mismatch(
                f"{layer.title} has real weights {found['input'].shape} and imaginary ones {found['imaginary'].shape}", "weight"
            )
            return None
        return found if len(found) == 2 else None

    def _synapses(self, layer: Layer, shape: tuple[int, ...] | None) -> _Stream | None:
        """Add a layer's neurons and what reaches them; return what it passes on, or None with a diagnostic."""
        weights = self._weights(layer)
        stream = None if weights is None else self._source(layer, weights["input"], shape)
        if weights is None or stream is None:
            return None
        links, out = self._links(layer, weights, shape, stream)
        if out is None:
            return None
        if shape is not None and (prod(shape) != prod(out) or (len(out) == 3 and shape != out)):
            layer.mismatch(f"{layer.title} states shape {shape}, but computes {out}", "shape", f"from an input of shape {stream.shape}")
            return None
        if not self._claimed(layer, out):
            return None
        exponent = layer.exponent()
        bias = self._bias(layer, out) if "bias" in layer.group else None
        loop = self._loop(layer, prod(out)) if layer.kind == "dense_rec" else None
        read = neurons.read_model(layer, model_of(layer), out, bias, exponent)
        delays = self._delays(layer, "delay", prod(out), stream.size, out)
        if read is None or delays is None or (layer.kind == "dense_rec" and loop is None):
            return None
        matrices = [*weights.values(), *([] if loop is None else [loop[0]])]
        divisor = 2.0**exponent if isinstance(read.model, SigmaDelta) else 1.0
        if any(np.any(m % divisor) for m in matrices):
            layer.refuse(f"the weights of layer {layer.number} divided by {divisor:g} (`weight_exp`) are no integers", "neuron")
            return None
        self._tell_limits(layer, weights, loop)
        biased = bias is not None and bool(np.any(bias))
        late = self._late(layer, delays, biased)
        if late is not None:
            delays = np.zeros((1, 1), np.int64)
        elif biased and np.any(delays):
            self.notes.append(f"the delays of layer {layer.number} act on its input, as in netx; lava-dl itself delays its output")
        self.biased |= biased and read.bias is None
        population = Population(f"layer{layer.number}", out, read.model, layer.group.where, stream.hops + 1)
        self.populations.append(population)
        for receptor, parts in links.items():
            for k, (part, connectivity) in enumerate(zip(stream.parts, parts, strict=True)):
                scaled = connectivity if divisor == 1 else connectivity.with_weights(connectivity.weights / divisor)
                own = read.bias if receptor == "input" and k == 0 else None
                name = f"{layer.kind}{layer.number}" + (" imaginary" if receptor == "imaginary" else "") + (f" part {k}" if k else "")
                self._project(layer, name, part, population, scaled, own, delays, receptor, stream.hops + 1)
        if loop is not None:
            matrix, steps = loop
            where = Provenance(self.tree.name, f"{layer.group.path}/weight_rec")
            recurrent = Projection(
                f"{layer.kind}{layer.number} recurrent", population.name, population.name, Dense(matrix / divisor), None, 1, where,
                np.broadcast_to(steps, matrix.shape) if np.any(steps) else None,
            )  # fmt: skip
            self.projections.append(recurrent)
        return _Stream((_Part(population, late),), out, stream.hops + 1)

    def _source(self, layer: Layer, weights: Array, shape: tuple[int, ...] | None) -> _Stream | None:
        """Return what a layer reads; a dense layer at the start of the file makes the input port itself."""
        if self.streams and self.streams[-1] is not None:
            return self.streams[-1]
        if layer.kind not in _DENSE or weights.ndim not in (1, 2) or weights.size == 0:
            if not self.streams:
                layer.mismatch(
                    f"{layer.title} is the first and does not tell the size of what it reads",
                    "weight",
                    "a file without an input block starts with a dense layer",
                )
            return None
        columns = weights.shape[1] if weights.ndim == 2 else weights.size // (shape[0] if shape else 1)
        port = Population("input", (columns,), None, layer.group.where)
        if not self.streams:
            self.populations.append(port)
        return _Stream((_Part(port),), port.shape)

    def _links(
        self, layer: Layer, weights: dict[Receptor, Array], shape: tuple[int, ...] | None, stream: _Stream
    ) -> tuple[dict[Receptor, list[Connectivity]], tuple[int, ...] | None]:
        """Return the connections from each part of the stream, by receptor, and the shape of the target; None with a diagnostic."""
        links: dict[Receptor, list[Connectivity]] = {}
        out: tuple[int, ...] | None = None
        if len(stream.parts) > 1 and layer.kind not in (*_DENSE, "conv"):
            layer.refuse(f"{layer.title} reads a concat block, which nmap does not support", advice="dense and conv may read one")
            return links, None
        ends = np.cumsum([part.population.size for part in stream.parts])
        for receptor, values in weights.items():
            if layer.kind in _DENSE:
                built = connections.dense(layer, values, None if shape is None else prod(shape), stream.size)
            else:
                built = _KERNELS[layer.kind](layer, values, stream.shape)
            if built is None:
                return links, None
            whole, out = built.connectivity, built.shape
            if len(stream.parts) == 1:
                links[receptor] = [whole]
            elif isinstance(whole, Dense):
                links[receptor] = [Dense(w) for w in np.split(whole.weights, ends[:-1], axis=1)]
            elif isinstance(whole, Conv2d):
                if whole.groups != 1:
                    layer.refuse(f"{layer.title} reads a concat block in {whole.groups} groups, which nmap does not support", "groups")
                    return links, None
                _, height, width = whole.in_shape
                kernels = np.split(whole.weights, ends[:-1] // (height * width), axis=1)
                links[receptor] = [replace(whole, weights=w, in_shape=(w.shape[1], height, width)) for w in kernels]
        return links, out

    def _project(
        self, layer: Layer, name: str, part: _Part, target: Population, connectivity: Connectivity, bias: Array | None, delays: Array,
        receptor: Receptor, start: int,
    ) -> None:  # fmt: skip
        """Add a projection; `delays` (targets or 1, sources or 1) and the source's own are steps beyond the one of a hop.

        A `bias` acts from the step `start`, in which the input of step 0 arrives, and as much later as all of the delays agree on.
        """
        late = np.zeros(1, np.int64) if part.late is None else part.late
        hop, steps = 1, None
        if np.any(delays) or np.any(late):
            if not isinstance(connectivity, Dense) and delays.min() == delays.max() and late.min() == late.max():
                hop += int(delays.flat[0] + late[0])
            else:
                if isinstance(connectivity, Conv2d):
                    listed = connections.unrolled(layer, connectivity)
                    if listed is None:
                        return
                    connectivity = listed
                    self.notes.append(f"the synapses of layer {layer.number} are listed one by one, because their delays differ")
                if not self.tree.claim(connectivity.synapses, 8, str(layer.group.where), f"the delays of layer {layer.number}"):
                    return
                steps = connections.delays(connectivity, delays, late)
        where = Provenance(self.tree.name, f"{layer.group.path}/weight")
        self.projections.append(
            Projection(
                name, part.population.name, target.name, connectivity, bias, hop, where, steps,
                0 if bias is None else start + int(delays.min()), receptor,
            )
        )

    def _loop(self, layer: Layer, size: int) -> tuple[Array, Array] | None:
        """Return a recurrent layer's weights (neurons, neurons) and delays (neurons or 1, neurons or 1)."""
        if "weight_rec" not in layer.group:
            self.findings.error("NM103", f"{layer.title} has no `weight_rec`", where=layer.group.place("weight_rec"))
            return None
        values = layer.whole("weight_rec", "recurrent weights")
        built = None if values is None else connections.dense(layer, values, size, size, "weight_rec")
        delays = self._delays(layer, "delay_rec", size, size, (size,))
        if built is None or delays is None:
            return None
        return built.connectivity.weights, delays

    def _late(self, layer: Layer, delays: Array, biased: bool) -> Array | None:
        """Return the delays (neurons,) that only what reads the layer can realise, or None.

        lava-dl delays a layer's output. To delay its input is the same unless the layer has a loop and the delays differ, or it has a
        bias; for a dense layer netx has settled on the input.
        """
        if layer.kind in ("dense", "dense_comp") or delays.shape[1] != 1 or not np.any(delays):
            return None
        if biased or (layer.kind == "dense_rec" and delays.min() != delays.max()):
            return delays[:, 0]
        return None

    def _bias(self, layer: Layer, shape: tuple[int, ...]) -> Array | None:
        whole = layer.whole("bias", "biases")
        if whole is None:
            return None
        values = spread(whole, shape)
        if values is None:
            layer.mismatch(f"bias of layer {layer.number} has shape {whole.shape} for neurons of shape {shape}", "bias")
        return values

    def _claimed(self, layer: Layer, shape: tuple[int, ...]) -> bool:
        return self.tree.claim(prod(shape) * 8, 8, str(layer.group.where), f"the state and parameters of layer {layer.number}")

    def _tell_limits(self, layer: Layer, weights: dict[Receptor, Array], loop: tuple[Array, Array] | None) -> None:
        """Note where netx's own preparation of dense weights (`optimize_weight_bits`) would fail or change them."""
        if layer.kind not in _DENSE:
            return
        for values in weights.values():
            matrices = [values] if loop is None else [values, loop[0]]
            low, high = min(float(m.min()) for m in matrices), max(float(m.max()) for m in matrices)
            if low == high == 0 or (low >= 0 and high > 255) or (high < 0 and low < -256):
                self.notes.append(f"netx fails on the weights of layer {layer.number}, which lie from {low:g} to {high:g}; read as stored")
            elif low < 0 <= high and (high > 254 or low < -256):
                self.notes.append(f"netx would clip the weights of layer {layer.number} to -256 to 254; they are read as stored")
            elif high < 0 and int(-low) & (int(-low) - 1) == 0:
                self.notes.append(
                    f"netx would change the weights of layer {layer.number}, all negative down to {low:g}, a power of two; they are kept"
                )

    def _delays(self, layer: Layer, entry: str, targets: int, sources: int, shape: tuple[int, ...]) -> Array | None:
        """Return delays (targets or 1, sources or 1) int64, from one value, one per target, channel or source, or all."""
        if entry not in layer.group:
            return np.zeros((1, 1), np.int64)
        values = layer.whole(entry, "delays")
        if values is None:
            return None
        flat = layer.kind in _DENSE
        if values.size == 1:
            delays = values.reshape(1, 1)
        elif values.ndim == 1 and values.size in (targets, shape[0]):
            delays = values.repeat(targets // values.size)[:, None]
        elif flat and values.ndim == 1 and values.size == sources:
            delays = values[None, :]
        elif flat and values.shape == (targets, sources):
            delays = values
        else:
            wanted = f"({targets}, {sources}) synapses" if flat else f"neurons of shape {shape}"
            layer.mismatch(f"{entry} of layer {layer.number} has shape {values.shape} for {wanted}", entry)
            return None
        if delays.min() < 0:
            bad = float(delays.min())
            self.findings.error(
                "NM107", f"a delay of layer {layer.number} is {bad:.6g}; delays are not negative", where=layer.group.place(entry)
            )
            return None
        beyond = int(np.count_nonzero(delays > _MAX_DELAY))
        if beyond:
            self.changed.warning(
                "NM112", f"{beyond} delays of layer {layer.number} were above {_MAX_DELAY} steps and set to {_MAX_DELAY}, as netx does",
                where=layer.group.place(entry),
            )
        return np.minimum(delays, _MAX_DELAY).astype(np.int64)
