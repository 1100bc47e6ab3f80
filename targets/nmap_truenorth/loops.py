"""The compiled form of TrueNorth's neuron."""

# ruff: noqa: ARG001 - a step takes what every step takes

from __future__ import annotations

import numpy as np

from nmap.compiled import compiled, native
from nmap.emulate.kernel import SHARED, STEP
from nmap.pointers import carray, int32_at, uint8_at

__all__ = ["neuron"]

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
def neuron(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_truenorth.neuron.TrueNorthNeuron`; arguments as in `nmap.emulate.kernel.Kernel.step`."""
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
