"""A network as a chain of the chip's layers: which form each population takes, and which cannot take any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Final

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.network import Network, Neuron, Population, Projection
from nmap.options import Options
from nmap.rules import neurons_of
from nmap.target.spec import ChipSpec
from nmap_akida.form import Form, Mode
from nmap_akida.geometry import (
    SEPARABLE_SIZES,
    Misfit,
    alike,
    as_matrix,
    global_pool,
    image_kernel,
    pooled_by_four,
    pooled_window,
    same_kernel,
    separable,
    unpooled,
)

__all__ = ["Offence", "Step", "chain", "chosen_mode", "default_bits", "late_steps", "most_spikes", "window_of"]

_DEFAULT_BITS: Final = 4
_LEVELS: Final = (1, 3, 15)
"""Largest numbers of 1, 2 and 4 bits, the activations of the chip."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One population of the network and the layer that computes it.

    Args:
        population, projection: the network's own, and its one afferent.
        form: of the layer.
        pool_before: a layer that sums windows of 2 by 2 pixels is put in front; `connectivity` is what remains behind it.
        connectivity: real weights, with the network's own geometry: `Conv2d` for all forms but DENSE, which has `Dense`, also where the
            network has a convolution with one output pixel. What a sparse connection of the network has become is here, too.
        global_pool: the potentials of `nmap_akida.geometry.global_pool` of the connectivity are summed over the image.
        received: largest value that arrives from one neuron of the source, or of the layer put in front, in one inference.
        sent: largest value that the population sends in one inference: 1, 3 or 15, the largest of 1, 2 or 4 bits.
        late: steps of the network's own time that the input takes to get here, the sum of the projections' delays: what inference i
            computes is the network's step i + late.
    """

    population: Population
    projection: Projection
    form: Form
    pool_before: bool
    connectivity: Dense | Conv2d
    global_pool: bool = False
    received: int = 1
    sent: int = 1
    late: int = 0


@dataclass(frozen=True, slots=True)
class Offence:
    """Why a projection or population is no layer of the chip.

    Args:
        rule: what is broken, the same for all that break it alike.
        names: of the projections or populations, at least one.
        reason: the numbers; a phrase that follows a name.
        remedy: the nearest change that would map, or None.
    """

    rule: str
    names: tuple[str, ...]
    reason: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class _Sender:
    """What a layer sends: its image, or None where its neurons have no places, and its largest value."""

    image: tuple[int, int, int] | None
    largest: int
    form: Form | None


def chosen_mode(options: Options, network: Network) -> Mode:
    """Return what one inference stands for: all steps where the user allows it and a neuron keeps its membrane, else one step."""
    if "rate" not in options.approximate:
        return Mode.THRESHOLD
    keeps = any(neuron.spiking and neuron.adaptation is None and neuron.beta.any() for _, neuron in neurons_of(network))
    return Mode.RATE if keeps else Mode.THRESHOLD


def window_of(spec: ChipSpec, options: Options, network: Network) -> int:
    """Return how many steps of the network one inference stands for."""
    return (options.horizon or spec.horizon) if chosen_mode(options, network) is Mode.RATE else 1


def default_bits(options: Options) -> int:
    """Return the weight bits of all layers but those of images, which have 8."""
    return _DEFAULT_BITS if options.bits is None else options.bits


def late_steps(network: Network) -> dict[str, int]:
    """Return how many steps of the network's own time the input takes to each population of a chain: the sum of the delays on the way."""
    late = {p.name: 0 for p in network.populations}
    for population in network.populations:
        for projection in network.projections:
            if projection.target == population.name != projection.source:
                late[population.name] = max(late[population.name], late[projection.source] + projection.delay)
    return late


def chain(network: Network, spec: ChipSpec, options: Options) -> tuple[tuple[Step, ...], tuple[Offence, ...]]:
    """Give every population of a network a layer of the chip.

    Neurons are looked at only as far as the layer's form depends on them; whether the chip has them is the rules' business.

    Args:
        network: as read.
        spec: the chip's limits.
        options: mode, weight bits, and the largest value of the samples.

    Returns:
        One step for each population that is no input port, in order from the input on, and what prevents it. Where there is an offence,
        steps may be missing.
    """
    # A layer that is a step behind the one before it, as in all files of lava-dl, is in the next inference what it is in this one.
    offences = list(_not_a_chain(network, 0 if chosen_mode(options, network) is Mode.RATE else 1))
    steps = _Builder(network, spec, options, offences).build()
    return tuple(steps), tuple(offences)


def _not_a_chain(network: Network, most: int) -> Iterator[Offence]:
    """Say why a network is no chain of layers in which no projection has a longer delay than `most` steps."""
    into: dict[str, list[Projection]] = {p.name: [] for p in network.populations}
    out: dict[str, list[Projection]] = {p.name: [] for p in network.populations}
    rank = {p.name: k for k, p in enumerate(network.populations)}
    for projection in network.projections:
        into[projection.target].append(projection)
        out[projection.source].append(projection)
    chains = "train a chain of layers, each with one projection into it and one out of it"
    looped = [p.name for p in network.projections if rank[p.source] >= rank[p.target]]
    yield from _offence("recurrent", looped, "leads back", "lead back", "train without recurrent weights")
    if len(network.inputs) > 1:
        yield Offence("ports", network.inputs, "are several input ports", "join the inputs in one")
    several = [p.name for p in network.populations if len(_forward(into[p.name], rank)) > 1]
    yield from _offence("afferents", several, "has several projections into it", "have several projections into them", chains)
    branching = [p.name for p in network.populations if len(_forward(out[p.name], rank)) > 1]
    yield from _offence("branches", branching, "sends to several populations", "send to several populations", chains)
    inner = [name for name in network.outputs if _forward(out[name], rank)]
    last = "keep the last population as the only output"
    yield from _offence("outputs", inner, "is an output and feeds another layer", "are outputs and feed other layers", last)
    if len(network.outputs) > 1:
        yield Offence("outputs", network.outputs, "are several outputs", last)
    ends = [p.name for p in network.populations if p.name not in network.outputs and not out[p.name]]
    yield from _offence("outputs", ends, "leads nowhere", "lead nowhere", "leave out what no output depends on")
    late = [p for p in network.projections if p.name not in looped and (p.delay > most or (p.delays is not None and p.delays.any()))]
    yield from _offence("delays", [p.name for p in late], "has a delay", "have delays", "train without delays")
    imaginary = [p.name for p in network.projections if p.receptor == "imaginary"]
    yield from _offence("imaginary", imaginary, "carries complex weights", "carry complex weights", "train with real weights")


def _offence(rule: str, names: list[str], one: str, many: str, remedy: str) -> Iterator[Offence]:
    if names:
        yield Offence(rule, tuple(names), one if len(names) == 1 else many, remedy)


def _forward(projections: list[Projection], rank: dict[str, int]) -> list[Projection]:
    return [p for p in projections if rank[p.source] < rank[p.target]]


class _Builder:
    """Walk the populations in the network's order, input ports first, and choose each one's form from what feeds it."""

    def __init__(self, network: Network, spec: ChipSpec, options: Options, offences: list[Offence]) -> None:
        self.network, self.spec, self.options, self.offences = network, spec, options, offences
        self.mode, self.bits = chosen_mode(options, network), default_bits(options)
        self.window = min(window_of(spec, options, network), spec.horizon)
        self.senders: dict[str, _Sender] = {}
        self.late = late_steps(network)

    def build(self) -> list[Step]:
        low, high = self.options.payload
        if low < 0:
            self.offences.append(Offence("signed", self.network.inputs, f"the samples hold values down to {low}", "give values from 0 on"))
        given = max(1, high) * self.window
        for population in self.network.populations:
            if population.neuron is None:
                self.senders[population.name] = _Sender(_sizes(population.shape), given, None)
        steps: list[Step] = []
        for population in self.network.populations:
            projection = next((p for p in self.network.projections if p.target == population.name and p.source in self.senders), None)
            if population.neuron is None or projection is None:
                continue
            step = self._step(population, projection)
            if step is not None:
                steps.append(step)
                continue
            # What follows a layer that does not map is looked at as if it did.
            link = projection.connectivity
            image, form = (link.out_shape, Form.CONV) if isinstance(link, Conv2d) else (None, Form.DENSE)
            self.senders[population.name] = _Sender(image, 1, form)
        return self._fused(steps)

    def _step(self, population: Population, projection: Projection) -> Step | None:
        source = self.senders[projection.source]
        connectivity = self._plain(projection, source)
        if connectivity is None:
            return None
        made = self._dense(projection, connectivity, source) if isinstance(connectivity, Dense) else (
            self._conv(projection, connectivity, source)
        )
        if made is None:
            return None
        sent = self._sent(population, projection, connectivity, source.largest)
        step = replace(made, sent=sent, late=self.late[population.name])
        if step.form is not Form.IMAGE and not self._listens(projection, source):
            return None
        image = None if isinstance(step.connectivity, Dense) else step.connectivity.out_shape
        self.senders[population.name] = _Sender(image, step.sent, step.form)
        return step

    def _listens(self, projection: Projection, source: _Sender) -> bool:
        """Return whether a layer that is not of an image takes its source's values."""
        limit = self.spec.limits["input_value"]
        if source.form is None and source.largest > limit.max:
            per_step = f" ({source.largest // self.window} a step, {self.window} steps)" if self.window > 1 else ""
            self.offences.append(Offence(
                "large_inputs", (projection.name,), f"is given values up to {source.largest}{per_step}",
                f"scale the samples to values up to {limit.max // self.window}, or begin with a convolution of an image of 1 or 3 channels"
                if limit.max >= self.window else "begin with a convolution of an image of 1 or 3 channels",
            ))
            return False
        return True

    def _plain(self, projection: Projection, source: _Sender) -> Dense | Conv2d | None:
        """Return the connection as a matrix or a convolution of the image that is there; None with an offence."""
        given = projection.connectivity
        if isinstance(given, Dense):
            return given
        if isinstance(given, Sparse):
            image = source.image
            if image is not None and prod(image[1:]) > 1 and (kernel := _one_to_one(given, image)) is not None:
                return Conv2d(kernel, image, groups=image[0])
            if (merged := self._merged(projection, given, source)) is not None:
                self.offences.append(merged)
                return None
            limit = self.spec.limits["matrix"]
            if given.in_size * given.out_size > limit.max:
                self.offences.append(Offence(
                    "matrix", (projection.name,),
                    f"has no other form than {given.in_size} x {given.out_size} weights, {given.in_size * given.out_size:,} of them",
                    "use convolutions in the chip's geometry, or smaller layers",
                ))
                return None
            return _listed(given)
        if given.out_shape[1:] == (1, 1) and given.in_shape[1:] == (1, 1):
            return as_matrix(given)
        if source.form is not None and source.image is None:
            self.offences.append(Offence(
                "after_dense", (projection.name,), f"is a convolution of {' x '.join(map(str, given.in_shape))} behind a dense layer",
                "train convolutions first and dense layers after them",
            ))
            return None
        if source.form is not None and source.image != given.in_shape:
            had = "x".join(map(str, source.image or ()))
            self.offences.append(Offence(
                "reshaped", (projection.name,), f"reads an image of {had} as one of {'x'.join(map(str, given.in_shape))}",
                "keep the image's shape between convolutions",
            ))
            return None
        return given

    def _merged(self, projection: Projection, sparse: Sparse, source: _Sender) -> Offence | None:
        """Say why synapses from image to image are no layer: readers list those that are no convolution.

        Written out as a matrix they would take the place of a geometry that the chip lacks, with many times its weights.
        """
        given, made = _plane(self.network[projection.source].shape), _plane(self.network[projection.target].shape)
        if (source.form is not None and source.image is None) or given is None or made is None:
            return None
        return Offence(
            "merged", (projection.name,),
            f"lists {sparse.synapses:,} synapses from {given} to {made} pixels, which are no convolution: several convolutions or pools"
            " without neurons between them, or pools that leave out or pad the image's border",
            "pool windows of 2 x 2 of images of even size without padding, and put neurons between convolutions",
        )

    def _dense(self, projection: Projection, dense: Dense, source: _Sender) -> Step | None:
        limit = self.spec.limits["dense_inputs"]
        pooled = self._narrower(dense, source)
        width = dense.in_size if pooled is None else pooled.in_size
        if width > limit.max:
            self.offences.append(Offence(
                "dense_inputs", (projection.name,), f"has {width} inputs", "put a pool or a convolution of stride 2 in front of it",
            ))
            return None
        if pooled is not None:
            return Step(self.network[projection.target], projection, Form.DENSE, True, pooled, received=4 * source.largest)
        return Step(self.network[projection.target], projection, Form.DENSE, False, dense, received=source.largest)

    def _narrower(self, dense: Dense, source: _Sender) -> Dense | None:
        """Return what remains of a dense layer behind a sum pool, where that is worth a layer.

        The wide layer computes the same without it. The pool is put in front only where the wide weights fill more than the weight memory
        of an NP, so that they would need one of the few NPs with memory beside the chip, and the narrow ones with the pool's take less.
        """
        image = source.image
        if image is None or not self._sums(source):
            return None
        bits, room = self.bits, self.spec.classes["fnp3"].budget["weight_memory"]
        wide, pool = dense.weights.size * bits // 8, image[0] ** 2 * 9 // 8
        if wide <= room or wide // 4 + pool >= wide:
            return None
        inner = unpooled(dense, image)
        return inner if isinstance(inner, Dense) else None

    def _sums(self, source: _Sender) -> bool:
        """Return whether four of the source's values add up to no more than 4 bits."""
        return 4 * source.largest <= self.spec.limits["input_value"].max

    def _conv(self, projection: Projection, conv: Conv2d, source: _Sender) -> Step | None:
        if source.form is None:
            image = self._image(projection, conv, source)
            if isinstance(image, Step):
                return image
            if source.largest > self.spec.limits["input_value"].max:
                self.offences.append(image)
                return None
        if conv.out_shape[1:] == (1, 1):
            return self._single(projection, conv, source)
        if not self._within(projection, conv):
            return None
        fitting = same_kernel(conv)
        inner, pooled = conv, False
        if isinstance(fitting, Misfit) and (below := unpooled(conv, conv.in_shape)) is not None and isinstance(below, Conv2d):
            behind = same_kernel(below)
            if not isinstance(behind, Misfit):
                if not self._sums(source):
                    self.offences.append(Offence(
                        "pool_sum", (projection.name,), f"sums windows of 4 values of up to {source.largest}: up to {4 * source.largest}",
                        "run at most 3 steps (`--steps 3`), whose counts have 2 bits, or train with neurons behind the pool"
                        if self.mode is Mode.RATE else "train with neurons behind the pool",
                    ))
                    return None
                fitting, inner, pooled = behind, below, True
        if isinstance(fitting, Misfit):
            window = pooled_window(conv)
            if window is not None:
                self.offences.append(Offence(
                    "pool", (projection.name,),
                    f"sums windows of {window} x {window} of an image of {conv.in_shape[1]} x {conv.in_shape[2]}",
                    "pool windows of 2 x 2, on images of even size",
                ))
                return None
            nearest = fitting.remedy if source.form is not None else (
                f"{fitting.remedy}; or give an image of 1 or 3 channels and at least 5 x 5 pixels: the first convolution may lack padding"
            )
            self.offences.append(Offence(fitting.rule, (projection.name,), fitting.reason, nearest))
            return None
        form = Form.SEPARABLE if self._separates(inner) else Form.CONV
        return Step(self.network[projection.target], projection, form, pooled, inner, received=source.largest * (4 if pooled else 1))

    def _single(self, projection: Projection, conv: Conv2d, source: _Sender) -> Step | None:
        """A convolution with one output pixel: summed over the image, or a matrix."""
        small, limit = global_pool(conv), self.spec.limits["global_pool"]
        if small is not None:
            sides = (*small.out_shape[1:], *small.in_shape[1:])
            if limit.min <= min(sides) and max(sides) <= limit.max and self._within(projection, small, told=False):
                form = Form.SEPARABLE if self._separates(small) else Form.CONV
                return Step(self.network[projection.target], projection, form, False, conv, global_pool=True, received=source.largest)
        matrix = self.spec.limits["matrix"]
        if conv.in_size * conv.out_size > matrix.max:
            self.offences.append(Offence(
                "matrix", (projection.name,), f"sees the whole image: {conv.in_size} x {conv.out_size} weights",
                "use kernels in the chip's geometry, or smaller layers",
            ))
            return None
        return self._dense(projection, as_matrix(conv), source)

    def _within(self, projection: Projection, conv: Conv2d, told: bool = True) -> bool:
        """Return whether channels and filters are not too many; record an offence where they are to be told."""
        for key, count, what in (("filters", conv.out_shape[0], "filters"), ("channels", conv.in_shape[0], "input channels")):
            limit = self.spec.limits[key]
            if count > limit.max:
                if told:
                    self.offences.append(Offence(key, (projection.name,), f"has {count} {what}", f"train with at most {limit.max} {what}"))
                return False
        return True

    def _image(self, projection: Projection, conv: Conv2d, source: _Sender) -> Step | Offence:
        """The input convolution, which takes no NP and values of 8 bits, or why it does not take this one."""
        limits, (channels, height, width) = self.spec.limits, conv.in_shape
        given = f"is given values up to {source.largest}"
        if source.largest > limits["image_value"].max:
            most = limits["image_value"].max // self.window
            return Offence("image_values", (projection.name,), given, f"scale the samples to values up to {most}")
        if channels not in (1, 3):
            return Offence(
                "image_channels", (projection.name,), f"{given} in {channels} channels",
                f"scale the samples to values up to {limits['input_value'].max // self.window}, or give 1 or 3 channels",
            )
        fitting = image_kernel(conv)
        if isinstance(fitting, Misfit):
            return Offence("image_kernel", (projection.name,), f"{given} and {fitting.reason}", fitting.remedy)
        size = fitting.kernel.shape[2]
        limit = limits[f"image_filters_{channels}_{size}"]
        if conv.out_shape[0] > limit.max:
            return Offence(
                "image_filters", (projection.name,),
                f"{given} and has {conv.out_shape[0]} filters of {size} x {size} for {channels} channel{'s' if channels > 1 else ''} (at"
                f" most {limit.max}; {limit.source})", f"train with at most {limit.max} filters",
            )
        limit = limits["image_size"]
        if min(height, width) < limit.min or height > limit.max:
            return Offence(
                "image_size", (projection.name,), f"{given} on an image of {height} x {width} pixels",
                f"give images of {limit.min} to {limit.max} rows and at least {limit.min} columns",
            )
        return Step(self.network[projection.target], projection, Form.IMAGE, False, conv, received=source.largest)

    def _separates(self, conv: Conv2d) -> bool:
        """Return whether a convolution is one within channels and one across them, with fewer weights that way.

        The chip's factors have 2 or 4 bits. A sum of windows stays one convolution, whose weights are 0 and 1.
        """
        if self.bits == 1 or pooled_by_four(conv) is not None:
            return False
        whole, fitting = same_kernel(conv), same_kernel(conv, SEPARABLE_SIZES)
        if isinstance(whole, Misfit) or isinstance(fitting, Misfit):
            return False
        filters, channels, size, _ = fitting.kernel.shape
        return channels * (size * size + filters) < whole.kernel.size and separable(fitting.kernel) is not None

    def _sent(self, population: Population, projection: Projection, connectivity: Connectivity, largest: int) -> int:
        """Return the largest value that a population sends in one inference: the largest of 1, 2 or 4 bits."""
        if self.mode is Mode.RATE:
            return next((level for level in _LEVELS if self.window <= level), _LEVELS[-1])
        if not self.network.conventions.multiple or not isinstance(population.neuron, Neuron):
            return 1
        highest = most_spikes(population.neuron, projection, connectivity, largest)
        if highest > _LEVELS[-1]:
            self.offences.append(Offence(
                "multiple", (population.name,), f"may send {highest} spikes in a step",
                "train with at most one spike per step (Sinabs: spike_fn=SingleSpike)",
            ))
        return next((level for level in _LEVELS if highest <= level), _LEVELS[-1])

    def _fused(self, steps: list[Step]) -> list[Step]:
        """Turn layers that ask whether any of 2 by 2 neurons fired into the max pooling of the layer before them.

        The chip's pool takes the largest potential, so what it is fused into sends 1 bit, and it is never the last layer nor followed by a
        dense one.
        """
        fused = list(steps)
        for k in range(1, len(fused) - 1):
            before, step, behind = fused[k - 1], fused[k], fused[k + 1]
            if (
                self.mode is Mode.THRESHOLD and before.sent == step.sent == 1 and not before.global_pool
                and before.form in (Form.CONV, Form.SEPARABLE, Form.IMAGE) and behind.form in (Form.CONV, Form.SEPARABLE)
                and not step.pool_before and step.projection.source == before.population.name and self._any_of_four(step)
            ):
                fused[k] = replace(step, form=Form.POOLED)
        return fused

    def _any_of_four(self, step: Step) -> bool:
        conv, neuron, projection = step.connectivity, step.population.neuron, step.projection
        if not isinstance(conv, Conv2d) or not isinstance(neuron, Neuron):
            return False
        taps = pooled_by_four(conv)
        if taps is None or not (taps > 0).all() or conv.in_shape[1] % 2 or conv.in_shape[2] % 2:
            return False
        gain = neuron.gain_in * neuron.gain_v
        rest = gain * (0 if projection.bias is None else projection.bias) + neuron.drive
        one = gain * np.repeat(taps, prod(conv.out_shape[1:])) + rest
        above = np.greater if self.network.conventions.compare == ">" else np.greater_equal
        return bool((gain > 0).all() and above(one, neuron.threshold).all() and not above(rest, neuron.threshold).any())


def most_spikes(neuron: Neuron, projection: Projection, connectivity: Connectivity, largest: int) -> int:
    """Return the most spikes that a neuron without memory sends in a step, trunc(v / threshold), for sources of 0 to `largest`."""
    high, low = connectivity.row_sums()
    gain = neuron.gain_in * neuron.gain_v
    rest = gain * (0 if projection.bias is None else projection.bias) + neuron.drive
    potential = np.maximum(gain * high, gain * low) * largest + rest
    positive = neuron.threshold > 0
    counts = np.trunc(potential[positive] / neuron.threshold[positive])
    return int(np.fmin(np.fmax.reduce(counts, initial=1.0), 2.0**31))


def _sizes(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else None


def _plane(shape: tuple[int, ...]) -> str | None:
    """Return the rows and columns of an image in words, of a signal (channels, length) one row; None for what has one pixel."""
    return None if prod(shape[1:]) == 1 else " x ".join(map(str, (1, *shape[1:])[-2:]))


def _one_to_one(sparse: Sparse, image: tuple[int, int, int]) -> Array | None:
    """Return the kernel, (channels, 1, 1, 1), of a connection from every neuron of an image to its namesake; None for others."""
    n = sparse.in_size
    if sparse.out_size != n or sparse.synapses != n or n != prod(image) or not np.array_equal(sparse.indices, np.arange(n)):
        return None
    if not np.array_equal(sparse.indptr, np.arange(n + 1)):
        return None
    weights = sparse.weights.reshape(image[0], -1)
    return weights[:, :1].reshape(-1, 1, 1, 1) if alike(weights, weights[:, :1]) else None


def _listed(sparse: Sparse) -> Dense:
    matrix = np.zeros((sparse.out_size, sparse.in_size), sparse.weights.dtype)
    np.add.at(matrix, (sparse.targets, sparse.indices), sparse.weights)
    return Dense(matrix)
