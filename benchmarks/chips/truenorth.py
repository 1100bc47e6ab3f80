"""TrueNorth's neuron in its deterministic modes.

The equations are those of Cassidy et al., IJCNN 2013, in the order that recorded traces of IBM's simulator NSCS show. With a the sum of the
step's synapses, sgn(0) = 0, and lam, alpha, beta, R, epsilon, gamma, kappa parameters of each neuron,

    V  = V + a
    V' = V + lam, or V + sgn(V) lam where epsilon = 1; and 0 where epsilon = 1, lam < 0 and V' has another sign than V
    spike where V' >= alpha:      V = R, V' - alpha or min(V', alpha) for gamma = 0, 1, 2
    else where V' < -beta:        V = -beta where kappa = 1, else -R, V' + beta or V' for gamma = 0, 1, 2

The stochastic modes need the chip's random numbers, whose sequence is not public. Potentials stay below 2^18 in size on the chip, which a
compiler has to prove; nothing saturates here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import carray

from nmap.compiled import Native, compiled, native
from nmap.connectivity import Array
from nmap.emulate.kernel import SHARED, STEP
from nmap.pointers import int32_at, uint8_at

__all__ = ["NEURON", "TrueNorthNeuron"]

_I = np.int32
_FIELD = (1 << 18) - 1


@compiled(inline="always")
def _one_of(mask, yes, no):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return yes where the mask is -1, no where it is 0, without a branch."""
    return _I(_I(mask & yes) | _I(_I(~mask) & no))


@compiled(inline="always")
def _advance(v, word, other):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return whether the neuron fires, and its potential afterwards; see `TrueNorthNeuron.constants` for the words."""
    alpha, leak, beta = _I(word & _I(_FIELD)), _I(word >> _I(23)), _I(other & _I(_FIELD))
    epsilon, linear = _I(_I(word << _I(13)) >> _I(31)), _I(_I(word << _I(12)) >> _I(31))
    never, floor = _I(_I(word << _I(11)) >> _I(31)), _I(_I(word << _I(10)) >> _I(31))
    sign, power = _I(other >> _I(31)), _I(_I(other >> _I(18)) & _I(31))
    reset = _I(_I(_I(_I(_I(1) << power) - _I(1)) ^ sign) - sign)
    # With epsilon the leak acts on the size of V, which ends at 0; a negative number's bits are turned for that, and turned back.
    side = _I(_I(v >> _I(31)) & epsilon)
    moved = max(_I(_I(_I(v ^ side) - side) + leak), _I(_I(~epsilon) & _I(-(1 << 31))))
    moved = _I(0) if v == _I(0) and epsilon != _I(0) else moved
    moved = _I(_I(moved ^ side) - side)
    fired = _one_of(never, alpha, _one_of(linear, _I(moved - alpha), reset))
    raised = _one_of(linear, _I(moved + beta), _one_of(never, moved, _I(-reset)))
    raised = _one_of(floor, _I(-beta), raised)
    fires = moved >= alpha
    moved = raised if moved < _I(-beta) else moved
    return fires, fired if fires else moved


@native(STEP)
def _step(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    count = last - first
    potential, total = carray(int32_at(state + 4 * first), count), carray(int32_at(dendrite + 4 * first), count)
    spikes = carray(uint8_at(sent + first), count)
    if shared == SHARED:
        words = carray(int32_at(constants), 2 * n)
        word, other = words[0], words[n]
        for j in range(count):
            spikes[j], potential[j] = _advance(_I(potential[j] + total[j]), word, other)
    else:
        words, others = carray(int32_at(constants + 4 * first), count), carray(int32_at(constants + 4 * (n + first)), count)
        for j in range(count):
            spikes[j], potential[j] = _advance(_I(potential[j] + total[j]), words[j], others[j])


@dataclass(frozen=True, slots=True)
class TrueNorthNeuron:
    """A neuron of TrueNorth without random modes; see `nmap.emulate.kernel.Kernel`.

    Parameters: `alpha` and `beta` 0..2^18 - 1, `leak` -256..255, `epsilon` and `kappa` 0 or 1, `gamma` 0..2; the reset potential is
    `sigma_vr` (1 or -1) times 2^`vr` - 1 with `vr` 0..18.
    """

    name: str = "truenorth.neuron"
    params: tuple[str, ...] = ("alpha", "beta", "leak", "epsilon", "gamma", "kappa", "sigma_vr", "vr")
    receptors: int = 1
    state: tuple[str, ...] = ("v",)
    graded: bool = False

    @property
    def step(self) -> Native:
        """See `nmap.emulate.kernel.Kernel.step`."""
        return _step

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return two words a neuron, packed as the chip does, (2, n) int32: a million neurons are bound by memory.

        The first holds alpha (bits 0 to 17), epsilon (18), whether gamma is 1 (19) or 2 (20), kappa (21) and the leak (23 to 31); the
        second beta (0 to 17), vr (18 to 22) and the sign of the reset potential (31).
        """
        flags = (params["epsilon"], params["gamma"] == 1, params["gamma"] == 2, params["kappa"])
        word = params["alpha"] | params["leak"] << 23
        for bit, flag in enumerate(flags, 18):
            word = word | flag.astype(np.int64) << bit
        other = params["beta"] | params["vr"] << 18 | (params["sigma_vr"] < 0).astype(np.int64) << 31
        return np.stack([word, other]).astype(np.int32)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """See `nmap.emulate.kernel.Kernel.reference_step`."""
        v = state["v"] + dendrite
        leak, alpha, beta, gamma = params["leak"], params["alpha"], params["beta"], params["gamma"]
        reset = params["sigma_vr"] * (2 ** params["vr"] - 1)
        moved = v + np.where(params["epsilon"] == 1, np.sign(v), 1) * leak
        moved = np.where((params["epsilon"] == 1) & (leak < 0) & (np.sign(moved) != np.sign(v)), 0, moved)
        fires, below = moved >= alpha, moved < -beta
        fired = np.choose(gamma, [reset + 0 * moved, moved - alpha, np.minimum(moved, alpha)])
        raised = np.where(params["kappa"] == 1, -beta, np.choose(gamma, [-reset + 0 * moved, moved + beta, moved]))
        state["v"] = np.where(fires, fired, np.where(below, raised, moved))
        return fires.astype(np.int64)


NEURON = TrueNorthNeuron()
