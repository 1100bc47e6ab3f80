"""Compiled steps of the Loihi 2 kernels, each compiled when its address is first asked for: few networks need more than one.

The arguments are those of `nmap.emulate.kernel.Kernel.step`. Every step goes over the neurons with numbers of 32 bits as far as it can,
so that the compiler takes eight neurons at a time: numba makes 64 bits of a sum of two numbers of 32 unless it is told otherwise, and
vectorises only loops over arrays from 0. The rows of constants are those of the kernel's `constants`.
"""

# ruff: noqa: ARG001 - a step takes what every step takes

from __future__ import annotations

import numpy as np

from nmap.compiled import compiled, native
from nmap.emulate.kernel import STEP
from nmap.pointers import carray, int32_at, uint8_at

__all__ = ["adaptive", "delta", "lif", "lif_reset", "relay", "resonator", "resonator_reset", "sigma", "sigma_delta", "ternary_lif"]

_LEAKS = 0b1011
"""Rows of LIF's constants that most networks have one number in: biases differ more often."""
_RESETS = 0b110000
"""Rows of LIFReset's interval and remainder."""


@compiled()
def _row(base, n, row, first, count):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return numbers first..first+count-1 of a row of n."""
    return carray(int32_at(base + 4 * (row * n + first)), count)


@compiled()
def _kept(x, factor):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return the low 32 bits of x factor / 2^12, the fraction cut off, for factors of +-2^19.

    The product is split into that of the upper 20 bits of x, a whole multiple of 2^12, and that of the lower 12, which has 32 bits at most.
    Cutting off is rounding down after adding 4095 to a negative product.
    """
    negative = np.int32(np.int32(x ^ factor) >> np.int32(31))
    low = np.int32(np.int32(np.int32(x & np.int32(4095)) * factor) + np.int32(negative & np.int32(4095)))
    return np.int32(np.int32(np.int32(x >> np.int32(12)) * factor) + np.int32(low >> np.int32(12)))


@compiled()
def _current(kept, a):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return kept + (a << 6), moved once by 2^24 where it lies outside (-2^23, 2^23]."""
    u = np.int32(kept + np.int32(a << np.int32(6)))
    side = np.int32(np.int32(u <= np.int32(-8388608)) - np.int32(u > np.int32(8388608)))
    return np.int32(u + np.int32(side << np.int32(24)))


@compiled()
def _voltage(kept, u, bias):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    return min(max(np.int32(np.int32(kept + u) + bias), np.int32(-8388607)), np.int32(8388607))


@compiled()
def _magnitude(x):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return |x| in 32 bits, where |-2^31| = -2^31."""
    sign = np.int32(x >> np.int32(31))
    return np.int32(np.int32(x ^ sign) - sign)


@compiled(inline="always")
def _leaky(constants, shared, state, dendrite, sent, n, first, last):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_loihi2.kernels.lif` without a negative threshold: rows factor of u, factor of v, bias, threshold."""
    count = last - first
    if count <= 0:
        return
    keep_u, keep_v = _row(constants, n, 0, first, count), _row(constants, n, 1, first, count)
    biases, highs = _row(constants, n, 2, first, count), _row(constants, n, 3, first, count)
    us, vs = _row(state, n, 0, first, count), _row(state, n, 1, first, count)
    arrived, out = _row(dendrite, n, 0, first, count), carray(uint8_at(sent + first), count)
    factor_u, factor_v, high = keep_u[0], keep_v[0], highs[0]
    if shared & _LEAKS != _LEAKS:
        for k in range(count):
            u = _current(_kept(us[k], keep_u[k]), arrived[k])
            v = _voltage(_kept(vs[k], keep_v[k]), u, biases[k])
            fired = v > highs[k]
            us[k], vs[k], out[k] = u, np.int32(0) if fired else v, fired
    elif factor_u == 0:
        # Most networks have no current that lasts.
        for k in range(count):
            u = _current(np.int32(0), arrived[k])
            v = _voltage(_kept(vs[k], factor_v), u, biases[k])
            fired = v > high
            us[k], vs[k], out[k] = u, np.int32(0) if fired else v, fired
    else:
        for k in range(count):
            u = _current(_kept(us[k], factor_u), arrived[k])
            v = _voltage(_kept(vs[k], factor_v), u, biases[k])
            fired = v > high
            us[k], vs[k], out[k] = u, np.int32(0) if fired else v, fired


@native(STEP)
def lif(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_loihi2.kernels.lif.LIF`."""
    _leaky(constants, shared, state, dendrite, sent, n, first, last)


@native(STEP)
def lif_reset(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_loihi2.kernels.lif.LIF_RESET`: further rows interval (0: no reset) and the remainder of Lava's time at a reset."""
    count = last - first
    intervals, remainders = _row(constants, n, 4, first, count), _row(constants, n, 5, first, count)
    us, vs = _row(state, n, 0, first, count), _row(state, n, 1, first, count)
    differences = np.int32(0)
    if shared & _RESETS != _RESETS:
        for k in range(count):
            unlike = np.int32(np.int32(intervals[k] ^ intervals[0]) | np.int32(remainders[k] ^ remainders[0]))
            differences = np.int32(differences | unlike)
    interval, remainder, hit = np.int32(0), np.int32(0), False
    for k in range(count):
        if intervals[k] != interval or remainders[k] != remainder:
            interval, remainder = intervals[k], remainders[k]
            # Lava counts its time steps from 1.
            hit = interval > 0 and (time + 1) % np.int64(max(interval, 1)) == remainder
        if hit:
            us[k] = vs[k] = np.int32(0)
        elif differences == 0:
            break
    _leaky(constants, shared, state, dendrite, sent, n, first, last)


@native(STEP)
def ternary_lif(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_loihi2.kernels.lif.TERNARY_LIF`: the rows of LIF, then the lower threshold."""
    count = last - first
    keep_u, keep_v, biases = _row(constants, n, 0, first, count), _row(constants, n, 1, first, count), _row(constants, n, 2, first, count)
    highs, lows = _row(constants, n, 3, first, count), _row(constants, n, 4, first, count)
    us, vs = _row(state, n, 0, first, count), _row(state, n, 1, first, count)
    arrived, out = _row(dendrite, n, 0, first, count), _row(sent, n, 0, first, count)
    for k in range(count):
        u = _current(_kept(us[k], keep_u[k]), arrived[k])
        v = _voltage(_kept(vs[k], keep_v[k]), u, biases[k])
        spike = np.int32(np.int32(v > highs[k]) - np.int32(v < lows[k]))
        us[k], vs[k], out[k] = u, np.int32(0) if spike != np.int32(0) else v, spike


@compiled()
def _change(x, v, residue, error, threshold, down, cumulative):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return what is sent of a change to x, what is left of it, and the error; `cumulative` is -1 or 0."""
    change = np.int32(np.int32(x - v) + residue)
    summed = np.int32(error + np.int32(change & cumulative))
    compared = summed if cumulative != np.int32(0) else change
    # -2^31 is its own magnitude in 32 bits: below every threshold from 0 on, and no change that would clear the error.
    given = change if _magnitude(compared) >= threshold else np.int32(0)
    cleared = cumulative != np.int32(0) and _magnitude(given) > np.int32(0)
    return np.int32(given >> down), np.int32(change - given), np.int32(0) if cleared else summed


@native(STEP)
def delta(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_loihi2.kernels.sigma_delta.DELTA`: rows threshold, shift of messages, cumulative (-1 or 0), scale of the input."""
    count = last - first
    thresholds, downs = _row(constants, n, 0, first, count), _row(constants, n, 1, first, count)
    cumulative, scales = _row(constants, n, 2, first, count), _row(constants, n, 3, first, count)
    us, vs = _row(state, n, 0, first, count), _row(state, n, 1, first, count)
    residues, errors = _row(state, n, 2, first, count), _row(state, n, 3, first, count)
    arrived, out = _row(dendrite, n, 0, first, count), _row(sent, n, 0, first, count)
    for k in range(count):
        u = arrived[k]
        x = np.int32(u * scales[k])
        out[k], residues[k], errors[k] = _change(x, vs[k], residues[k], errors[k], thresholds[k], downs[k], cumulative[k])
        us[k], vs[k] = u, x


@native(STEP)
def sigma_delta(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_loihi2.kernels.sigma_delta.SIGMA_DELTA`: rows threshold, shift of messages, cumulative (-1 or 0), bias, least x."""
    count = last - first
    thresholds, downs = _row(constants, n, 0, first, count), _row(constants, n, 1, first, count)
    cumulative, biases = _row(constants, n, 2, first, count), _row(constants, n, 3, first, count)
    least = _row(constants, n, 4, first, count)
    us, vs = _row(state, n, 0, first, count), _row(state, n, 1, first, count)
    residues, errors = _row(state, n, 2, first, count), _row(state, n, 3, first, count)
    arrived, out = _row(dendrite, n, 0, first, count), _row(sent, n, 0, first, count)
    for k in range(count):
        u = np.int32(us[k] + arrived[k])
        x = max(np.int32(u + biases[k]), least[k])
        out[k], residues[k], errors[k] = _change(x, vs[k], residues[k], errors[k], thresholds[k], downs[k], cumulative[k])
        us[k], vs[k] = u, x


@native(STEP)
def sigma(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_loihi2.kernels.sigma_delta.SIGMA`, which has no constants."""
    count = last - first
    us, vs = _row(state, n, 0, first, count), _row(state, n, 1, first, count)
    arrived, out = _row(dendrite, n, 0, first, count), _row(sent, n, 0, first, count)
    for k in range(count):
        total = np.int32(vs[k] + arrived[k])
        us[k] = vs[k] = out[k] = total


@native(STEP)
def relay(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_loihi2.kernels.relay.RELAY`, which has no constants."""
    count = last - first
    vs, arrived, out = _row(state, n, 0, first, count), _row(dendrite, n, 0, first, count), _row(sent, n, 0, first, count)
    for k in range(count):
        total = np.int32(vs[k] + arrived[k])
        out[k] = total if _magnitude(total) > np.int32(0) else np.int32(0)
        vs[k] = np.int32(0)


@compiled()
def _toward_zero(product, bits):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    # An arithmetic shift rounds down; the chip rounds toward zero.
    sign = product >> 63
    return (((product ^ sign) - sign >> bits) ^ sign) - sign


@compiled(inline="always")
def _rotated(constants, state, dendrite, sent, n, first, last, resets):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_loihi2.kernels.resonator`: rows cos, sin, threshold, scale of the inputs, decay bits, im after a spike."""
    count = last - first
    coss, sins, thresholds = _row(constants, n, 0, first, count), _row(constants, n, 1, first, count), _row(constants, n, 2, first, count)
    scales, shifts, afters = _row(constants, n, 3, first, count), _row(constants, n, 4, first, count), _row(constants, n, 5, first, count)
    us, vs = _row(state, n, 0, first, count), _row(state, n, 1, first, count)
    reals, imaginaries = _row(dendrite, n, 0, first, count), _row(dendrite, n, 1, first, count)
    out = carray(uint8_at(sent + first), count)
    for k in range(count):
        cos, sin, u, v, bits = np.int64(coss[k]), np.int64(sins[k]), np.int64(us[k]), np.int64(vs[k]), np.int64(shifts[k])
        re = _toward_zero(cos * u, bits) - _toward_zero(sin * v, bits) + np.int64(np.int32(reals[k] * scales[k]))
        im = _toward_zero(sin * u, bits) + _toward_zero(cos * v, bits) + np.int64(np.int32(imaginaries[k] * scales[k]))
        re, im = min(max(re, -8388607), 8388607), min(max(im, -8388607), 8388607)
        if resets:
            fired = im >= thresholds[k]
            us[k], vs[k] = np.int32(0) if fired else np.int32(re), afters[k] if fired else np.int32(im)
        else:
            fired = re >= thresholds[k] and im >= 0 and v < 0
            us[k], vs[k] = np.int32(re), np.int32(im)
        out[k] = fired


@native(STEP)
def resonator(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_loihi2.kernels.resonator.RF`."""
    _rotated(constants, state, dendrite, sent, n, first, last, False)


@native(STEP)
def resonator_reset(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_loihi2.kernels.resonator.RF_IZ`."""
    _rotated(constants, state, dendrite, sent, n, first, last, True)


@native(STEP)
def adaptive(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_loihi2.kernels.adaptive.ATRLIF`: rows factors of u, v, theta and rho, bias, rest, rise of theta by a spike."""
    count = last - first
    keep_u, keep_v = _row(constants, n, 0, first, count), _row(constants, n, 1, first, count)
    keep_theta, keep_rho = _row(constants, n, 2, first, count), _row(constants, n, 3, first, count)
    biases, rests, rises = _row(constants, n, 4, first, count), _row(constants, n, 5, first, count), _row(constants, n, 6, first, count)
    us, vs = _row(state, n, 0, first, count), _row(state, n, 1, first, count)
    thetas, rhos = _row(state, n, 2, first, count), _row(state, n, 3, first, count)
    arrived, out = _row(dendrite, n, 0, first, count), carray(uint8_at(sent + first), count)
    if time == 0:
        for k in range(count):
            thetas[k] = rests[k]
    for k in range(count):
        u = _current(_kept(us[k], keep_u[k]), arrived[k])
        v = _voltage(_kept(vs[k], keep_v[k]), u, biases[k])
        theta = np.int32(_kept(np.int32(thetas[k] - rests[k]), keep_theta[k]) + rests[k])
        rho = _kept(rhos[k], keep_rho[k])
        fired = np.int32(v - rho) >= theta
        us[k], vs[k], out[k] = u, v, fired
        rhos[k] = np.int32(rho + np.int32(theta << np.int32(1))) if fired else rho
        thetas[k] = np.int32(theta + rises[k]) if fired else theta
