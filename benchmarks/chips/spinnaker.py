"""Neurons of SpiNNaker 1 and SpiNNaker 2.

SpiNNaker 1: sPyNNaker 7.4.1's IF_curr_exp, whose arithmetic is confirmed bit for bit against its binaries. Numbers are s16.15 in 32 bits
and wrap; decay factors are u0.32. With sum_r what the synapses of receptor r (0 excitatory, 1 inhibitory) sent, weights of 16 bits without
sign, the ring buffer's slot being min(65535, sum_r):

    syn_r = syn_r + decay(slot_r << shift_r, I0_r)                      decay(x, d) = x d / 2^32, rounded down
    where refract <= 0:  I = syn_0 - syn_1 + i_offset;  alpha = mul(I, R) + v_rest;  v = alpha - mul(E, alpha - v)
    elsewhere:           refract = refract - 1                          mul(a, b) = a b / 2^15, rounded down
    spike where v >= v_thresh, while refractory too: v = v_reset, refract = t_ref
    syn_r = decay(syn_r, D_r)

SpiNNaker 2: py-spinnaker2's `lif` as its users describe it, which is not checked against the chip beyond a few traces. In float32, each
operation rounded by itself: v = (alpha_decay v + a) + i_offset; spike where v > threshold, then v - threshold or v_reset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import carray

from nmap.compiled import Native, compiled, native
from nmap.connectivity import Array
from nmap.emulate.kernel import SHARED, STEP
from nmap.pointers import float32_at, int32_at, uint8_at

__all__ = ["SPINNAKER1", "SPINNAKER2", "Spinnaker1Lif", "Spinnaker2Lif", "bits", "real"]

_I = np.int32
_SLOT = 65535


def bits(values: Array) -> Array:
    """Return the 32 bits of float32 numbers, as int64."""
    return np.asarray(values, np.float32).view(np.int32).astype(np.int64)


def real(words: Array) -> Array:
    """Return the float32 numbers of 32 bits each."""
    return words.astype(np.int32).view(np.float32)


@compiled(inline="always")
def _chosen(which, yes, no):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return one of two numbers without a branch: with one, LLVM stores under a mask, which some processors do word by word."""
    return _I(no ^ _I(_I(yes ^ no) & _I(-_I(which))))


@compiled(inline="always")
def _decay(x, factor):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return x factor / 2^32 rounded down, the factor without sign: in halves of 16 bits, since lanes widen slowly to 64."""
    high, low = _I(x >> _I(16)), _I(x & _I(_SLOT))
    above, below = _I(np.uint32(factor) >> np.uint32(16)), _I(factor & _I(_SLOT))
    # Without sign, at most 2^32 - 2^16.
    middle = np.uint32(_I(low * above)) + np.uint32(np.uint32(_I(low * below)) >> np.uint32(16))
    rest = _I(_I(high * below) + _I(np.uint32(middle) & np.uint32(_SLOT)))
    return _I(_I(_I(high * above) + _I(np.uint32(middle) >> np.uint32(16))) + _I(rest >> _I(16)))


@compiled(inline="always")
def _received(total, factor, drop):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return decay(slot << shift, factor) of the ring buffer's slot, with drop = 16 - shift."""
    slot = min(total, _I(_SLOT))
    above, below = _I(np.uint32(factor) >> np.uint32(16)), _I(factor & _I(_SLOT))
    product = np.uint32(_I(slot * above)) + np.uint32(np.uint32(_I(slot * below)) >> np.uint32(16))
    return _I(np.uint32(product) >> np.uint32(drop & _I(31)))


@compiled(inline="always")
def _mul(a, b):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return the low 32 bits of a b / 2^15 rounded down, in parts of 15 bits."""
    low, other = _I(a & _I(32767)), _I(b & _I(32767))
    whole = _I(_I(_I(a >> _I(15)) * b) + _I(low * _I(b >> _I(15))))
    return _I(whole + _I(_I(low * other) >> _I(15)))


@compiled(inline="always")
def _advance1(v, excitatory, inhibitory, refract, up, down, c):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return whether the neuron fires, and its four state variables afterwards; c are its constants, up and down the dendrite's."""
    resistance, leak, rest, offset, threshold, reset, pause, keep0, first0, keep1, first1, drop0, drop1 = c
    excitatory, inhibitory = _I(excitatory + _received(up, first0, drop0)), _I(inhibitory + _received(down, first1, drop1))
    alpha = _I(_mul(_I(_I(excitatory - inhibitory) + offset), resistance) + rest)
    waiting = refract > _I(0)
    v = _chosen(waiting, v, _I(alpha - _mul(_I(alpha - v), leak)))
    fires = v >= threshold
    refract = _chosen(fires, pause, _I(refract - _I(waiting)))
    return fires, _chosen(fires, reset, v), _decay(excitatory, keep0), _decay(inhibitory, keep1), refract


@native(STEP)
def _step1(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    count, row = last - first, 4 * n
    base, here = state + 4 * first, dendrite + 4 * first
    v, excitatory = carray(int32_at(base), count), carray(int32_at(base + row), count)
    inhibitory, refract = carray(int32_at(base + 2 * row), count), carray(int32_at(base + 3 * row), count)
    up, down, spikes = carray(int32_at(here), count), carray(int32_at(here + row), count), carray(uint8_at(sent + first), count)
    if shared == SHARED:
        c = carray(int32_at(constants), (13, n))
        one = (
            c[0, 0], c[1, 0], c[2, 0], c[3, 0], c[4, 0], c[5, 0], c[6, 0], c[7, 0], c[8, 0], c[9, 0], c[10, 0], c[11, 0], c[12, 0],
        )
        for j in range(count):
            spikes[j], v[j], excitatory[j], inhibitory[j], refract[j] = _advance1(
                v[j], excitatory[j], inhibitory[j], refract[j], up[j], down[j], one,
            )
    else:
        c0, c1 = carray(int32_at(constants + 4 * first), count), carray(int32_at(constants + 4 * first + row), count)
        c2, c3 = carray(int32_at(constants + 4 * first + 2 * row), count), carray(int32_at(constants + 4 * first + 3 * row), count)
        c4, c5 = carray(int32_at(constants + 4 * first + 4 * row), count), carray(int32_at(constants + 4 * first + 5 * row), count)
        c6, c7 = carray(int32_at(constants + 4 * first + 6 * row), count), carray(int32_at(constants + 4 * first + 7 * row), count)
        c8, c9 = carray(int32_at(constants + 4 * first + 8 * row), count), carray(int32_at(constants + 4 * first + 9 * row), count)
        c10, c11 = carray(int32_at(constants + 4 * first + 10 * row), count), carray(int32_at(constants + 4 * first + 11 * row), count)
        c12 = carray(int32_at(constants + 4 * first + 12 * row), count)
        for j in range(count):
            own = (c0[j], c1[j], c2[j], c3[j], c4[j], c5[j], c6[j], c7[j], c8[j], c9[j], c10[j], c11[j], c12[j])
            spikes[j], v[j], excitatory[j], inhibitory[j], refract[j] = _advance1(
                v[j], excitatory[j], inhibitory[j], refract[j], up[j], down[j], own,
            )


@dataclass(frozen=True, slots=True)
class Spinnaker1Lif:
    """sPyNNaker's IF_curr_exp; see `nmap.emulate.kernel.Kernel`.

    Parameters are raw: `r`, `e`, `v_rest`, `i_offset`, `v_thresh` and `v_reset` s16.15, `t_ref` steps, `decay_r` and `init_r` u0.32 and
    `shift_r` 0..15 for receptor r. A recorded variable is that after the step, where sPyNNaker records before it.
    """

    name: str = "spinnaker1.lif"
    params: tuple[str, ...] = (
        "r", "e", "v_rest", "i_offset", "v_thresh", "v_reset", "t_ref", "decay_0", "init_0", "decay_1", "init_1", "shift_0", "shift_1",
    )
    receptors: int = 2
    state: tuple[str, ...] = ("v", "syn_0", "syn_1", "refract")
    graded: bool = False

    @property
    def step(self) -> Native:
        """See `nmap.emulate.kernel.Kernel.step`."""
        return _step1

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return the parameters, (13, n) int32: a factor above 2^31 is kept in the same 32 bits, and 16 - shift for a shift."""
        rows = [params[name] for name in self.params[:-2]] + [16 - params[name] for name in self.params[-2:]]
        return np.stack(rows).astype(np.int32)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """See `nmap.emulate.kernel.Kernel.reference_step`."""

        def kept(values: Array) -> Array:
            return (values + 2**31) % 2**32 - 2**31

        def decay(x: Array, factor: Array) -> Array:
            return x * factor // 2**32

        n = params["r"].size
        synapses = []
        for receptor in (0, 1):
            slot = np.minimum(dendrite[..., receptor * n : (receptor + 1) * n], _SLOT)
            first = decay(kept(slot * 2 ** params[f"shift_{receptor}"]), params[f"init_{receptor}"])
            synapses.append(kept(state[f"syn_{receptor}"] + first))
            state[f"syn_{receptor}"] = decay(synapses[receptor], params[f"decay_{receptor}"])
        current = kept(synapses[0] - synapses[1] + params["i_offset"])
        alpha = kept(kept(current * params["r"] // 2**15) + params["v_rest"])
        moved = kept(alpha - kept(params["e"] * kept(alpha - state["v"]) // 2**15))
        free = state["refract"] <= 0
        v = np.where(free, moved, state["v"])
        fires = v >= params["v_thresh"]
        state["v"] = np.where(fires, params["v_reset"], v)
        state["refract"] = np.where(fires, params["t_ref"], state["refract"] - np.where(free, 0, 1))
        return fires.astype(np.int64)


@compiled(inline="always")
def _advance2(v, total, alpha, threshold, offset, reset, subtract):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return whether the neuron fires, and its potential afterwards."""
    v = np.float32(np.float32(np.float32(alpha * v) + np.float32(total)) + offset)
    fires = v > threshold
    lowered = np.float32(v - threshold) if subtract != _I(0) else reset
    return fires, lowered if fires else v


@native(STEP)
def _step2(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    count, row, own = last - first, 4 * n, constants + 4 * first
    v, total = carray(float32_at(state + 4 * first), count), carray(int32_at(dendrite + 4 * first), count)
    spikes = carray(uint8_at(sent + first), count)
    if shared == SHARED:
        c, mode = carray(float32_at(constants), (5, n)), carray(int32_at(constants), (5, n))
        alpha, threshold, offset, reset, subtract = c[0, 0], c[1, 0], c[2, 0], c[3, 0], mode[4, 0]
        for j in range(count):
            spikes[j], v[j] = _advance2(v[j], total[j], alpha, threshold, offset, reset, subtract)
    else:
        c0, c1 = carray(float32_at(own), count), carray(float32_at(own + row), count)
        c2, c3 = carray(float32_at(own + 2 * row), count), carray(float32_at(own + 3 * row), count)
        c4 = carray(int32_at(own + 4 * row), count)
        for j in range(count):
            spikes[j], v[j] = _advance2(v[j], total[j], c0[j], c1[j], c2[j], c3[j], c4[j])


@dataclass(frozen=True, slots=True)
class Spinnaker2Lif:
    """py-spinnaker2's `lif`; see `nmap.emulate.kernel.Kernel`.

    Parameters and state are the bits of float32 numbers (`bits`), `subtract` is 1 for a reset by subtraction of the threshold, else 0.
    """

    name: str = "spinnaker2.lif"
    params: tuple[str, ...] = ("alpha_decay", "threshold", "i_offset", "v_reset", "subtract")
    receptors: int = 1
    state: tuple[str, ...] = ("v",)
    graded: bool = False

    @property
    def step(self) -> Native:
        """See `nmap.emulate.kernel.Kernel.step`."""
        return _step2

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return the parameters, (5, n) int32."""
        return np.stack([params[name] for name in self.params]).astype(np.int32)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """See `nmap.emulate.kernel.Kernel.reference_step`."""
        alpha, threshold, offset, reset = (real(params[name]) for name in self.params[:4])
        v = alpha * real(state["v"])
        v = v + dendrite.astype(np.float32)
        v = v + offset
        fires = v > threshold
        state["v"] = bits(np.where(fires, np.where(params["subtract"] == 1, v - threshold, reset), v))
        return fires.astype(np.int64)


SPINNAKER1 = Spinnaker1Lif()
SPINNAKER2 = Spinnaker2Lif()
