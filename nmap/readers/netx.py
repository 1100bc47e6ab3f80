"""Read lava-dl netx files (`.net`, HDF5): a chain of layers of integer CUBA neurons.

Time, reset and comparison are the exporting framework's own: one hop takes one step, decays are 12-bit integers, v is reset to
zero where v > vThMant. In units where a weight of 1 counts 1, the state's resolution is 1/64 (the chip shifts weights by 6
bits), a layer's bias acts as it is stored (its exponent is 6), and the threshold is vThMant. Kernels are stored so that the net
effect is torch's cross-correlation on (channels, height, width), and `flatten` is C order.
"""

from __future__ import annotations

from math import prod

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.diagnostics import Findings
from nmap.network import Assumption, Conventions, Network, Neuron, Population, Projection, Provenance
from nmap.readers.hdf5 import MAX_ELEMENTS, Group, Tree, too_large

__all__ = ["read_netx"]

_SUPPORTED = ("input", "dense", "conv", "flatten")
_NEURONS = ("CUBA", "LOIHI")
_MAX_DELAY = 62
_MAX_LAYERS = 4096
_QUANTUM = 1 / 64
# What netx gives a layer without a neuron: it integrates for ever and its threshold is out of reach.
_SILENT_THRESHOLD = 131072
_KNOWN_NEURON = frozenset({"type", "iDecay", "vDecay", "vThMant", "refDelay", "gradedSpike", "wgtExp", "theta", "tauRho", "scaleRho"})
_KNOWN_LAYER = {
    "input": frozenset({"type", "shape", "neuron", "weight", "bias"}),
    "dense": frozenset({"type", "shape", "neuron", "weight", "bias", "delay", "inFeatures", "outFeatures"}),
    "conv": frozenset({
        "type", "shape", "neuron", "weight", "bias", "inChannels", "outChannels", "kernelSize", "stride", "padding", "dilation", "groups",
    }),
    "flatten": frozenset({"type", "shape"}),
}  # fmt: skip


def read_netx(tree: Tree, sha256: str, *, dt: float | None, reset: str | None, source: str | None) -> Network:
    """Read an open netx file.

    Args:
        tree: the file.
        sha256: its hash.
        dt, reset, source: the command line's conventions; a netx file leaves none of them open.

    Raises:
        NmapError: with everything that is wrong with the file.
    """
    return _Reader(tree, sha256).read(dt, reset, source)


class _Reader:
    def __init__(self, tree: Tree, sha256: str) -> None:
        self.tree, self.findings, self.sha256 = tree, tree.findings, sha256
        self.populations: list[Population] = []
        self.projections: list[Projection] = []
        self.notes: list[str] = []
        self.changed = Findings()

    def read(self, dt: float | None, reset: str | None, source: str | None) -> Network:
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
            self.notes.append(f"dt of {dt:.6g} s was not used: a netx file is in steps already")
        layers = self._layers()
        self._refuse(layers)
        self.findings.raise_errors()
        for number, (kind, group) in enumerate(layers):
            self._layer(number, kind, group)
        self.findings.raise_errors()
        last = self.populations[-1]
        if last.neuron is None:
            self.findings.error("NM108", "the file has no layer with neurons", where=f"{self.tree.name}:/layer")
        self.findings.raise_errors()
        network = Network(
            file=self.tree.name, format="netx", sha256=self.sha256,
            populations=tuple(self.populations), projections=tuple(self.projections),
            inputs=("input",), outputs=(last.name,), conventions=Conventions(None, "zero", "steps", ">"),
            assumptions=(
                Assumption("dt", "steps", "file", "netx stores decays per step"),
                Assumption("reset", "zero", "file", "the only reset of netx's CUBA neurons"),
                Assumption("decay", "steps", "file", "12-bit integers, states truncated toward zero"),
                Assumption("comparison", ">", "file", "netx's neurons fire where v > vThMant"),
                Assumption("timing", "1 step per layer", "file", "netx runs on Lava, where a spike acts in the next step"),
            ),
            notes=tuple(self.notes), diagnostics=tuple(self.changed),
        )  # fmt: skip
        network.check()
        return network

    def _layers(self) -> list[tuple[str, Group]]:
        """Return type and group of each layer in the order of the integer names."""
        top = self.tree.root.group("layer")
        if top is None:
            return []
        names = top.names()
        odd = [n for n in names if not (n.isascii() and n.isdecimal())]
        if odd:
            self.findings.error("NM104", f"layer `{odd[0]}` is not named by its number", where=top.place(odd[0]))
        numbers = sorted((n for n in names if n not in odd), key=int)
        if len(numbers) > _MAX_LAYERS:
            self.findings.error("NM110", f"the file lists {len(numbers)} layers; the limit is {_MAX_LAYERS}", where=str(top.where))
            return []
        missing = [k for k in range(len(numbers)) if str(k) not in numbers]
        if missing:
            self.findings.error(
                "NM103",
                f"layer {missing[0]} is missing of {len(numbers)} layers",
                where=str(top.where),
                why=f"the file lists {', '.join(numbers[:16])}",
            )
        found: list[tuple[str, Group]] = []
        for name in numbers:
            group = top.group(name)
            if group is None:
                self.findings.error("NM103", f"layer {name} is not a group with entries", where=top.place(name))
                continue
            kind = group.string("type") if "type" in group else None
            if "type" not in group:
                self.findings.error("NM103", f"layer {name} has no `type`", where=group.place("type"))
            if kind is not None:
                found.append((kind, group))
        return found

    def _refuse(self, layers: list[tuple[str, Group]]) -> None:
        """Record every layer and neuron type that is not supported."""
        for number, (kind, group) in enumerate(layers):
            if kind not in _SUPPORTED:
                self.findings.error(
                    "NM104",
                    f"layer {number} is of type `{kind}`, which nmap does not support",
                    where=str(group.where),
                    help=(f"supported are {', '.join(_SUPPORTED)}",),
                )
            elif kind == "input" and number:
                self.findings.error("NM104", f"layer {number} is an input block behind other layers", where=str(group.where))
            elif kind == "flatten" and not number:
                self.findings.error("NM108", "the first layer is a flatten block: nothing tells what it reads", where=str(group.where))
            neuron = group.group("neuron") if "neuron" in group else None
            if neuron is None:
                continue
            model = neuron.string("type") if "type" in neuron else None
            if "type" not in neuron:
                self.findings.error("NM103", f"the neuron of layer {number} has no `type`", where=neuron.place("type"))
            elif model is not None and model not in _NEURONS:
                self.findings.error(
                    "NM104",
                    f"layer {number} ({kind}) has neurons of type `{model}`, which nmap does not support",
                    where=str(neuron.where),
                    help=(f"supported are {', '.join(_NEURONS)}",),
                )
            if group.is_group("weight"):
                self.findings.error(
                    "NM104", f"layer {number} ({kind}) has complex weights, which nmap does not support", where=group.place("weight")
                )

    def _layer(self, number: int, kind: str, group: Group) -> None:
        unknown = sorted(set(group.names()) - _KNOWN_LAYER[kind])
        if unknown:
            self.notes.append(f"layer {number} ({kind}) has {', '.join(f'`{u}`' for u in unknown)}, which netx does not use there; ignored")
        shape = self._shape(group, kind)
        if kind == "input":
            self._input(group, shape)
        elif kind == "flatten":
            before = self.populations[-1].size if self.populations else 0
            if shape is not None and before and prod(shape) != before:
                self._mismatch(group, f"layer {number} (flatten) states {prod(shape)} values, but {before} arrive", "shape")
        else:
            self._synapses(number, kind, group, shape)

    def _mismatch(self, group: Group, message: str, entry: str, why: str | None = None) -> None:
        self.findings.error("NM106", message, where=group.place(entry), why=why)

    def _shape(self, group: Group, kind: str) -> tuple[int, ...] | None:
        if "shape" not in group:
            if kind == "input":
                self.findings.error("NM103", "the input block has no `shape`", where=group.place("shape"))
            return None
        values = group.array("shape")
        if values is None:
            return None
        flat = values.ravel()
        if flat.size == 0 or np.any(flat != np.floor(flat)) or np.any(flat < 1):
            self._mismatch(group, f"`shape` is {flat[:8].tolist()}; positive integers belong here", "shape")
            return None
        if np.any(flat > MAX_ELEMENTS):
            self.findings.error("NM110", too_large("`shape`", flat), where=group.place("shape"))
            return None
        shape = tuple(int(v) for v in flat)
        if kind == "dense" or prod(shape) == shape[0]:
            return (prod(shape),) if kind == "dense" or len(shape) != 3 else shape
        return shape

    def _input(self, group: Group, shape: tuple[int, ...] | None) -> None:
        if shape is None:
            return
        port = Population("input", shape, None, group.where)
        self.populations.append(port)
        affine = []
        for entry, default in (("weight", 64), ("bias", 0)):
            value = self._finite(group, entry) if entry in group else None
            affine.append(int(value.ravel()[0]) if value is not None and value.size else default)
        if "neuron" not in group:
            return
        population = self._population(0, group, shape, None)
        if population is None:
            return
        self.populations.append(population)
        if self.tree.claim(3 * port.size, 8, str(group.where), "the input block"):
            one_to_one = Sparse.diagonal(np.ones(port.size))
            self.projections.append(Projection("input", "input", population.name, one_to_one, None, 1, group.where))
        self.notes.append(
            f"the input block scales by weight {affine[0]} and bias {affine[1]}, which netx leaves to the caller: feed integers scaled so"
        )

    def _finite(self, group: Group, entry: str) -> Array | None:
        values = group.array(entry)
        if values is None:
            return None
        if not np.all(np.isfinite(values)):
            bad = np.argwhere(~np.isfinite(values))[0]
            self.findings.error(
                "NM107",
                f"`{entry}` is not finite: {float(values[tuple(bad)])}",
                where=group.place(entry) + (f"[{', '.join(str(int(k)) for k in bad)}]" if bad.size else ""),
            )
            return None
        return values

    def _synapses(self, number: int, kind: str, group: Group, shape: tuple[int, ...] | None) -> None:
        if "weight" not in group:
            self.findings.error("NM103", f"layer {number} ({kind}) has no `weight`", where=group.place("weight"))
            return
        stored = self._finite(group, "weight")
        if stored is None:
            return
        weights = self._truncated(stored, f"weights of layer {number}", group.place("weight")).astype(np.float64)
        if not self.populations:
            if kind != "dense" or weights.ndim not in (1, 2):
                self._mismatch(
                    group,
                    f"layer {number} ({kind}) is the first and does not tell the size of what it reads",
                    "weight",
                    "a file without an input block starts with a dense layer",
                )
                return
            columns = weights.shape[1] if weights.ndim == 2 else weights.size // (shape[0] if shape else 1)
            self.populations.append(Population("input", (columns,), None, group.where))
        source = self.populations[-1]
        connectivity = (
            self._dense(number, group, weights, shape, source) if kind == "dense" else self._conv(number, group, weights, shape, source)
        )
        if connectivity is None:
            return
        out_shape = connectivity.out_shape if isinstance(connectivity, Conv2d) else (connectivity.out_size,)
        bias = self._bias(number, group, out_shape) if "bias" in group else None
        population = self._population(number, group, out_shape, bias)
        if population is None:
            return
        delays = self._delays(number, group, connectivity) if kind == "dense" and "delay" in group else None
        self.populations.append(population)
        self.projections.append(
            Projection(
                f"{kind}{number}",
                source.name,
                population.name,
                connectivity,
                None,
                1,
                Provenance(self.tree.name, f"{group.path}/weight"),
                delays,
            )
        )

    def _dense(self, number: int, group: Group, weights: Array, shape: tuple[int, ...] | None, source: Population) -> Dense | None:
        if weights.ndim == 1:
            rows = prod(shape) if shape else 1
            if weights.size != rows * source.size:
                self._mismatch(
                    group, f"weight of layer {number} (dense) has {weights.size} entries for {rows} x {source.size} synapses", "weight"
                )
                return None
            weights = weights.reshape(rows, -1)
        if weights.ndim > 2 and prod(weights.shape[2:]) == 1:
            weights = weights.reshape(weights.shape[:2])
        if weights.ndim != 2:
            self._mismatch(group, f"weight of layer {number} (dense) has shape {weights.shape}; (targets, sources) belongs here", "weight")
            return None
        if weights.shape[1] != source.size:
            self._mismatch(
                group,
                f"layer {number} (dense) reads {weights.shape[1]} values, but {source.size} arrive",
                "weight",
                f"weight has shape {weights.shape}, `{source.name}` {source.shape}",
            )
            return None
        if shape is not None and prod(shape) != weights.shape[0]:
            self._mismatch(
                group, f"layer {number} (dense) states {prod(shape)} neurons, but its weight has {weights.shape[0]} rows", "shape"
            )
            return None
        return Dense(weights)

    def _conv(self, number: int, group: Group, weights: Array, shape: tuple[int, ...] | None, source: Population) -> Conv2d | None:
        if weights.ndim == 5 and weights.shape[4] == 1:
            weights = weights[..., 0]
        if weights.ndim != 4 or len(source.shape) != 3:
            self._mismatch(
                group,
                f"layer {number} (conv) has weight {weights.shape} on an input of shape {source.shape}",
                "weight",
                "a convolution needs a kernel of rank 4 and an input of (channels, height, width)",
            )
            return None
        numbers = {entry: self._pair(group, entry, default) for entry, default in (("stride", 1), ("padding", 0), ("dilation", 1))}
        groups = self._pair(group, "groups", 1)
        if groups is None or any(v is None for v in numbers.values()):
            return None
        channels, height, width = source.shape
        pairs = {entry: value for entry, value in numbers.items() if value is not None}
        try:
            conv = Conv2d(weights, (channels, height, width), pairs["stride"], pairs["padding"], pairs["dilation"], groups[0])
        except ValueError as error:
            self._mismatch(group, f"layer {number} (conv) does not fit its input of shape {source.shape}: {error}", "weight")
            return None
        if shape is not None and tuple(shape) != conv.out_shape:
            self._mismatch(
                group,
                f"layer {number} (conv) states shape {shape}, but computes {conv.out_shape}",
                "shape",
                f"input {source.shape}, kernel {weights.shape}, {pairs}",
            )
            return None
        return conv

    def _pair(self, group: Group, entry: str, default: int) -> tuple[int, int] | None:
        """Return (height, width) of a convolution's entry."""
        if entry not in group:
            return default, default
        values = self._finite(group, entry)
        if values is None:
            return None
        flat = values.ravel()
        if flat.size not in (1, 2) or np.any(flat != np.floor(flat)) or np.any(flat < min(default, 1)):
            self._mismatch(group, f"`{entry}` is {flat[:8].tolist()}; one or two integers of at least {min(default, 1)} belong here", entry)
            return None
        if np.any(flat > MAX_ELEMENTS):
            self.findings.error("NM110", too_large(f"`{entry}`", flat), where=group.place(entry))
            return None
        return (int(flat[0]), int(flat[-1]))

    def _truncated(self, stored: Array, what: str, where: str) -> Array:
        """Return the values without their fractions, as netx reads them, and record how many had one."""
        whole = np.trunc(stored)
        changed = int(np.count_nonzero(whole != stored))
        if changed:
            self.changed.warning("NM112", f"{changed} {what} are not integers; truncated toward zero, as netx does", where=where)
        return whole

    def _bias(self, number: int, group: Group, shape: tuple[int, ...]) -> Array | None:
        stored = self._finite(group, "bias")
        if stored is None:
            return None
        whole = self._truncated(stored, f"biases of layer {number}", group.place("bias")).astype(np.float64)
        spread = self._spread(whole, shape)
        if spread is None:
            self._mismatch(group, f"bias of layer {number} has shape {stored.shape} for neurons of shape {shape}", "bias")
        return spread

    def _spread(self, values: Array, shape: tuple[int, ...]) -> Array | None:
        """Return one value per neuron from one per layer, channel or neuron; None where it is none of these."""
        if values.size == 1:
            return np.full(prod(shape), float(values.ravel()[0]))
        if values.size == shape[0]:
            return values.ravel().astype(np.float64).repeat(prod(shape[1:]))
        return values.ravel().astype(np.float64) if values.size == prod(shape) else None

    def _population(self, number: int, group: Group, shape: tuple[int, ...], bias: Array | None) -> Population | None:
        size, name = prod(shape), f"layer{number}"
        if not self.tree.claim(size * 8, 8, str(group.where), f"the state and parameters of layer {number}"):
            return None
        drive = np.zeros(size) if bias is None else bias
        entries = group.group("neuron") if "neuron" in group else None
        zero, one = np.zeros(size), np.ones(size)
        if entries is None:
            self.notes.append(f"layer {number} has no neuron; as in netx it sums its input for ever and never fires, and its output is v")
            return Population(
                name,
                shape,
                Neuron("CUBA", one, one, one, zero, drive, np.full(size, float(_SILENT_THRESHOLD)), zero, False, _QUANTUM),
                group.where,
            )
        unknown = sorted(set(entries.names()) - _KNOWN_NEURON)
        if unknown:
            self.notes.append(f"the neuron of layer {number} has {', '.join(f'`{u}`' for u in unknown)}, which netx does not use; ignored")
        for entry, harmless in (("refDelay", 1), ("wgtExp", 0), ("gradedSpike", 0)):
            value = self._finite(entries, entry) if entry in entries and not entries.is_string(entry) else None
            if value is not None and np.any(value != harmless):
                self.notes.append(f"`{entry}` of layer {number} is {value.ravel()[0]}; netx ignores it, and so does nmap")
        fields: dict[str, Array] = {}
        for entry in ("iDecay", "vDecay", "vThMant"):
            values = self._parameter(number, entries, entry, shape)
            if values is not None:
                fields[entry] = values
        if len(fields) < 3:
            return None
        model = entries.string("type") or _NEURONS[0]
        neuron = Neuron(
            model,
            (4096 - fields["iDecay"]) / 4096,
            one,
            one,
            (4096 - fields["vDecay"]) / 4096,
            drive,
            fields["vThMant"],
            zero,
            True,
            _QUANTUM,
            fields=fields,
        )
        return Population(name, shape, neuron, group.where)

    def _parameter(self, number: int, entries: Group, entry: str, shape: tuple[int, ...]) -> Array | None:
        if entry not in entries:
            self.findings.error("NM103", f"the neuron of layer {number} lacks `{entry}`", where=entries.place(entry))
            return None
        stored = self._finite(entries, entry)
        if stored is None:
            return None
        whole = self._truncated(stored, f"values of `{entry}` of layer {number}", entries.place(entry))
        values = self._spread(whole, shape)
        if values is None:
            self._mismatch(entries, f"`{entry}` of layer {number} has shape {stored.shape} for neurons of shape {shape}", entry)
            return None
        if entry != "vThMant" and (values.min() < 0 or values.max() > 4096):
            bad = float(values.min()) if values.min() < 0 else float(values.max())
            self.findings.error(
                "NM107", f"`{entry}` of layer {number} is {bad:.6g}; a 12-bit decay lies between 0 and 4096", where=entries.place(entry)
            )
            return None
        return values

    def _delays(self, number: int, group: Group, connectivity: Connectivity) -> Array | None:
        """Return the delay of each synapse, (targets, sources) int64, from one value, one per target, one per source or all."""
        stored = self._finite(group, "delay")
        if stored is None:
            return None
        targets, sources = connectivity.out_size, connectivity.in_size
        delays = self._truncated(stored, f"delays of layer {number}", group.place("delay"))
        if delays.size == 1:
            delays = np.full((targets, sources), delays.ravel()[0])
        elif delays.ndim == 1 and delays.size == targets:
            delays = np.repeat(delays[:, None], sources, axis=1)
        elif delays.ndim == 1 and delays.size == sources:
            delays = np.repeat(delays[None, :], targets, axis=0)
        elif delays.shape != (targets, sources):
            self._mismatch(group, f"delay of layer {number} has shape {stored.shape} for ({targets}, {sources}) synapses", "delay")
            return None
        if delays.min() < 0:
            self.findings.error(
                "NM107", f"a delay of layer {number} is {float(delays.min()):.6g}; delays are not negative", where=group.place("delay")
            )
            return None
        late = int(np.count_nonzero(delays > _MAX_DELAY))
        if late:
            self.changed.warning(
                "NM112", f"{late} delays of layer {number} were above {_MAX_DELAY} steps and set to {_MAX_DELAY}, as netx does",
                where=group.place("delay"),
            )
        return np.minimum(delays, _MAX_DELAY).astype(np.int64)
