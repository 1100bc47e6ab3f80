"""Compiled steps of SpiNNaker 1's kernels, each compiled when its address is first asked for: few networks need more than one.

The arguments are those of `nmap.emulate.kernel.Kernel.step`, the rows of constants those of the kernel's `constants`. All is done in
numbers of 32 bits, eight neurons at a time: products of 64 bits would halve the lanes. Networks whose neurons differ in threshold, offset
and reset value only, as nearly all do, have a loop of their own: what they share is not read again for every neuron.
"""

# ruff: noqa: ARG001 - a step takes what every step takes

from __future__ import annotations

import numpy as np

from nmap.compiled import compiled, native
from nmap.emulate.kernel import STEP
from nmap.pointers import carray, int32_at, uint8_at

__all__ = ["if_curr_delta", "if_curr_exp", "if_trunc", "source"]

_I = np.int32
_OWN = 0b111000
"""Rows of the leaky kernels that each neuron may have for itself in the common loop: offset, threshold, reset value."""


@compiled()
def _row(base, n, row, first, count):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return numbers first..first+count-1 of a row of n."""
    return carray(int32_at(base + 4 * (row * n + first)), count)


@compiled()
def _chosen(which, yes, no):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return one of two numbers without a branch: with one, LLVM stores under a mask, which some processors do word by word."""
    return _I(no ^ _I(_I(yes ^ no) & _I(-_I(which))))


@compiled()
def _slot(total):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return what the ring buffer holds of a sum of 32 bits without sign."""
    return _I(min(np.uint32(total), np.uint32(65535)))


@compiled()
def _count(seen, plus, minus, cuts):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Count the sums that the ring buffer cuts; `seen` has the bits of all sums, so that a pass is spared where none is cut."""
    if np.uint32(seen) > np.uint32(65535):
        for k in range(cuts.size):
            cuts[k] = _I(cuts[k] + _I(_I(np.uint32(plus[k]) > np.uint32(65535)) + _I(np.uint32(minus[k]) > np.uint32(65535))))


@compiled()
def _mul(a, b):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return the low 32 bits of a b / 2^15 rounded down, in parts of 15 bits."""
    low, other = _I(a & _I(32767)), _I(b & _I(32767))
    whole = _I(_I(_I(a >> _I(15)) * b) + _I(low * _I(b >> _I(15))))
    return _I(whole + _I(_I(low * other) >> _I(15)))


@compiled()
def _decay(x, factor):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return x factor / 2^32 rounded down, the factor without sign, in halves of 16 bits."""
    high, low = _I(x >> _I(16)), _I(x & _I(65535))
    above, below = _I(np.uint32(factor) >> np.uint32(16)), _I(factor & _I(65535))
    # Without sign, at most 2^32 - 2^16.
    middle = np.uint32(_I(low * above)) + np.uint32(np.uint32(_I(low * below)) >> np.uint32(16))
    rest = _I(_I(high * below) + _I(np.uint32(middle) & np.uint32(65535)))
    return _I(_I(_I(high * above) + _I(np.uint32(middle) >> np.uint32(16))) + _I(rest >> _I(16)))


@compiled()
def _decayed_slot(slot, factor, drop):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return decay(slot << shift, factor) with drop = 16 - shift of 1..16, where slot << shift does not reach the sign."""
    above, below = _I(np.uint32(factor) >> np.uint32(16)), _I(factor & _I(65535))
    product = np.uint32(_I(slot * above)) + np.uint32(np.uint32(_I(slot * below)) >> np.uint32(16))
    return _I(np.uint32(product) >> np.uint32(drop & _I(31)))


@compiled()
def _leaked(v, current, resistance, leak, rest):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    alpha = _I(_mul(current, resistance) + rest)
    return _I(alpha - _mul(_I(alpha - v), leak))


@compiled()
def _fired(v, moved, refract, threshold, reset, pause):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return whether the neuron fires, its v and its wait afterwards; `moved` is v had it not been waiting."""
    waiting = refract > _I(0)
    v = _chosen(waiting, v, moved)
    fires = v >= threshold
    return fires, _chosen(fires, reset, v), _chosen(fires, pause, _I(refract - _I(waiting)))


@native(STEP)
def if_curr_exp(  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    constants, shared, state, dendrite, sent, n, first, last, time,
):
    """Advance `nmap_spinnaker.kernels.exponential.IF_CURR_EXP`."""
    count = last - first
    if count <= 0:
        return
    vs, ups, downs = _row(state, n, 0, first, count), _row(state, n, 1, first, count), _row(state, n, 2, first, count)
    waits, cuts = _row(state, n, 3, first, count), _row(state, n, 4, first, count)
    plus, minus = _row(dendrite, n, 0, first, count), _row(dendrite, n, 1, first, count)
    out = carray(uint8_at(sent + first), count)
    offsets, thresholds = _row(constants, n, 3, first, count), _row(constants, n, 4, first, count)
    resets = _row(constants, n, 5, first, count)
    resistances, leaks = _row(constants, n, 0, first, count), _row(constants, n, 1, first, count)
    rests, pauses = _row(constants, n, 2, first, count), _row(constants, n, 6, first, count)
    keeps0, firsts0 = _row(constants, n, 7, first, count), _row(constants, n, 8, first, count)
    keeps1, firsts1 = _row(constants, n, 9, first, count), _row(constants, n, 10, first, count)
    seen = _I(0)
    shifts0, shifts1 = _row(constants, n, 11, first, count), _row(constants, n, 12, first, count)
    if shared | _OWN == -1 or shared | _OWN == (1 << 13) - 1:
        resistance, leak, rest, pause = resistances[0], leaks[0], rests[0], pauses[0]
        keep0, first0, keep1, first1 = keeps0[0], firsts0[0], keeps1[0], firsts1[0]
        drop0, drop1 = _I(_I(16) - shifts0[0]), _I(_I(16) - shifts1[0])
        if drop0 > 0 and drop1 > 0:
            for k in range(count):
                up = _I(_decay(ups[k], keep0) + _decayed_slot(_slot(plus[k]), first0, drop0))
                down = _I(_decay(downs[k], keep1) + _decayed_slot(_slot(minus[k]), first1, drop1))
                seen = _I(seen | _I(plus[k] | minus[k]))
                moved = _leaked(vs[k], _I(_I(up - down) + offsets[k]), resistance, leak, rest)
                ups[k], downs[k] = up, down
                out[k], vs[k], waits[k] = _fired(vs[k], moved, waits[k], thresholds[k], resets[k], pause)
            _count(seen, plus, minus, cuts)
            return
    for k in range(count):
        up = _I(_decay(ups[k], keeps0[k]) + _decay(_I(_slot(plus[k]) << _I(shifts0[k] & _I(31))), firsts0[k]))
        down = _I(_decay(downs[k], keeps1[k]) + _decay(_I(_slot(minus[k]) << _I(shifts1[k] & _I(31))), firsts1[k]))
        seen = _I(seen | _I(plus[k] | minus[k]))
        moved = _leaked(vs[k], _I(_I(up - down) + offsets[k]), resistances[k], leaks[k], rests[k])
        ups[k], downs[k] = up, down
        out[k], vs[k], waits[k] = _fired(vs[k], moved, waits[k], thresholds[k], resets[k], pauses[k])
    _count(seen, plus, minus, cuts)


@native(STEP)
def if_curr_delta(  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    constants, shared, state, dendrite, sent, n, first, last, time,
):
    """Advance `nmap_spinnaker.kernels.delta.IF_CURR_DELTA`."""
    count = last - first
    if count <= 0:
        return
    vs, waits, cuts = _row(state, n, 0, first, count), _row(state, n, 1, first, count), _row(state, n, 2, first, count)
    plus, minus = _row(dendrite, n, 0, first, count), _row(dendrite, n, 1, first, count)
    out = carray(uint8_at(sent + first), count)
    offsets, thresholds = _row(constants, n, 3, first, count), _row(constants, n, 4, first, count)
    resets = _row(constants, n, 5, first, count)
    resistances, leaks = _row(constants, n, 0, first, count), _row(constants, n, 1, first, count)
    rests, pauses = _row(constants, n, 2, first, count), _row(constants, n, 6, first, count)
    shifts0, shifts1 = _row(constants, n, 7, first, count), _row(constants, n, 8, first, count)
    seen = _I(0)
    scales = _row(constants, n, 9, first, count)
    # A time step of 1 ms has a scale of 1, which changes nothing.
    if (shared | _OWN == -1 or shared | _OWN == (1 << 10) - 1) and scales[0] == _I(32768):
        resistance, leak, rest, pause = resistances[0], leaks[0], rests[0], pauses[0]
        shift0, shift1 = _I(shifts0[0] & _I(31)), _I(shifts1[0] & _I(31))
        for k in range(count):
            current = _I(_I(_I(_slot(plus[k]) << shift0) - _I(_slot(minus[k]) << shift1)) + offsets[k])
            seen = _I(seen | _I(plus[k] | minus[k]))
            moved = _leaked(vs[k], current, resistance, leak, rest)
            out[k], vs[k], waits[k] = _fired(vs[k], moved, waits[k], thresholds[k], resets[k], pause)
        _count(seen, plus, minus, cuts)
        return
    for k in range(count):
        up = _mul(_I(_slot(plus[k]) << _I(shifts0[k] & _I(31))), scales[k])
        down = _mul(_I(_slot(minus[k]) << _I(shifts1[k] & _I(31))), scales[k])
        seen = _I(seen | _I(plus[k] | minus[k]))
        moved = _leaked(vs[k], _I(_I(up - down) + offsets[k]), resistances[k], leaks[k], rests[k])
        out[k], vs[k], waits[k] = _fired(vs[k], moved, waits[k], thresholds[k], resets[k], pauses[k])
    _count(seen, plus, minus, cuts)


@native(STEP)
def if_trunc(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_spinnaker.kernels.trunc.IF_TRUNC`."""
    count = last - first
    vs, waits, cuts = _row(state, n, 0, first, count), _row(state, n, 1, first, count), _row(state, n, 2, first, count)
    plus, minus = _row(dendrite, n, 0, first, count), _row(dendrite, n, 1, first, count)
    out = carray(uint8_at(sent + first), count)
    resistances, offsets = _row(constants, n, 0, first, count), _row(constants, n, 1, first, count)
    thresholds, resets = _row(constants, n, 2, first, count), _row(constants, n, 3, first, count)
    pauses = _row(constants, n, 4, first, count)
    seen = _I(0)
    shifts0, shifts1 = _row(constants, n, 5, first, count), _row(constants, n, 6, first, count)
    for k in range(count):
        up, down = _I(_slot(plus[k]) << _I(shifts0[k] & _I(31))), _I(_slot(minus[k]) << _I(shifts1[k] & _I(31)))
        seen = _I(seen | _I(plus[k] | minus[k]))
        moved = max(_I(_mul(_I(_I(up - down) + offsets[k]), resistances[k]) + vs[k]), resets[k])
        out[k], vs[k], waits[k] = _fired(vs[k], moved, waits[k], thresholds[k], resets[k], pauses[k])
    _count(seen, plus, minus, cuts)


@native(STEP)
def source(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_spinnaker.kernels.source.SOURCE`."""
    count = last - first
    arrived, out = _row(dendrite, n, 0, first, count), carray(uint8_at(sent + first), count)
    for k in range(count):
        out[k] = arrived[k] > _I(0)
