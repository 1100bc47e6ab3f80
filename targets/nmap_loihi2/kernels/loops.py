"""Compiled loops of the Loihi 2 kernels, each compiled when it is first called: few networks need more than one.

They share one file because numba's cache looks for changes in the file of the function that it compiled only.

Every loop runs one neuron through all steps. Parameters are rows in the kernel's order, (parameters, n) int64, and state is (variables,
n) int64; see `nmap.emulate.kernel.Kernel.run`. Lava computes in 32 bits unless said otherwise, so sums wrap there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from nmap.compiled import compiled

__all__ = ["run_adaptive", "run_change", "run_current", "run_resonator"]

_ARRAYS = "int64[:,::1], int64[:,::1], int64[:,::1], int32[:,::1], int64[:,:,::1]"


def _when_called(signature: str) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Compile a function for one signature at its first call."""

    def decorate(function: Callable[..., Any]) -> Callable[..., None]:
        made = cache(lambda: compiled(signature)(function))

        @wraps(function)
        def call(*arguments: Any) -> None:
            made()(*arguments)

        return call

    return decorate


@compiled(inline="always")
def _wrap32(value):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    return ((value & 4294967295) ^ 2147483648) - 2147483648


@compiled(inline="always")
def _wrap16(value):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    return ((value & 65535) ^ 32768) - 32768


@compiled(inline="always")
def _current(total):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Wrap in 32 bits, then once by 2^24 out of (-2^23, 2^23]."""
    # Within the range there is nothing to do, and a test costs less than a wrap.
    if -8388608 < total <= 8388608:
        return total
    total = _wrap32(total)
    return total - 16777216 if total > 8388608 else total + 16777216 if total <= -8388608 else total


@compiled(inline="always")
def _voltage(total):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Wrap in 32 bits, then clip to +-(2^23 - 1)."""
    if -8388607 <= total <= 8388607:
        return total
    return _saturate(_wrap32(total))


@compiled(inline="always")
def _saturate(value):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    return min(max(value, -8388607), 8388607)


@compiled(inline="always")
def _toward_zero(product, bits):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    # An arithmetic shift rounds down; the chip rounds toward zero.
    return product >> bits if product >= 0 else -((-product) >> bits)


@compiled(inline="always")
def _left32(value, bits):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    # numpy's shifts by a negative number, or by the width and more, leave nothing; the processor's are something else.
    return _wrap32(value << bits) if 0 <= bits < 32 else 0


@compiled(inline="always")
def _right32(value, bits):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    return value >> (bits if 0 <= bits < 32 else 31)


@compiled(inline="always")
def _bias(mantissa, exponent):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    mantissa, exponent = _wrap16(mantissa), _wrap16(exponent)
    return _left32(mantissa, exponent) if exponent >= 0 else _right32(mantissa, -exponent)


@_when_called(f"void({_ARRAYS}, boolean, boolean, int64)")
def run_current(params, state, dendrite, spikes, probe, ternary, resets, first_step):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Run `nmap_loihi2.kernels.lif`: rows du, dv, vth, bias_mant, bias_exp, then vth_lo (ternary) or reset_interval, reset_offset."""
    steps, n = dendrite.shape
    keep = probe.size > 0
    for k in range(n):
        decay_u, decay_v = 4095 - params[0, k], 4096 - params[1, k]
        high, low = params[2, k] << 6, -(1 << 62)
        if ternary:
            high, low = _wrap32(high), _wrap32(params[5, k] << 6)
        bias = _bias(params[3, k], params[4, k])
        u, v = state[0, k], state[1, k]
        start, stop = 0, steps
        if resets and params[5, k] > 0:
            # The first row at whose start the state becomes zero; row 0 is Lava's time step first_step + 1.
            stop = min((params[6, k] - first_step - 1) % params[5, k], steps)
        while True:
            for t in range(start, stop):
                u = _current(_toward_zero(u * decay_u, 12) + (dendrite[t, k] << 6))
                v = _voltage(_toward_zero(v * decay_v, 12) + u + bias)
                spike = (1 if v > high else 0) - (1 if v < low else 0)
                if spike != 0:
                    v = 0
                spikes[t, k] = spike
                if keep:
                    probe[t, 0, k] = u
                    probe[t, 1, k] = v
            if stop == steps:
                break
            start, stop = stop, stop + min(params[5, k], steps - stop)
            u = v = 0
        state[0, k] = u
        state[1, k] = v


@_when_called(f"void({_ARRAYS}, boolean)")
def run_change(params, state, dendrite, spikes, probe, sums):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Run `nmap_loihi2.kernels.sigma_delta`.

    Rows are vth, spike_exp, state_exp, cum_error, then bias, rectify where `sums`: the neuron sums what it receives.
    """
    steps, n = dendrite.shape
    keep = probe.size > 0
    for k in range(n):
        threshold, cumulative = _wrap32(params[0, k]), params[3, k] != 0
        up, down = params[1, k] + params[2, k], params[2, k]
        bias, rectify = (_wrap32(params[4, k]), params[5, k] != 0) if sums else (0, False)
        u, v, residue, error = state[0, k], state[1, k], state[2, k], state[3, k]
        for t in range(steps):
            a = _wrap32(dendrite[t, k])
            if sums:
                u = _wrap32(u + a)
                x = _wrap32(u + bias)
                if rectify:
                    x = max(x, 0)
            else:
                u = a
                x = _left32(a, up)
            change = _wrap32(x - v + residue)
            compared = change
            if cumulative:
                error = _wrap32(error + change)
                compared = error
            # -2^31 is its own magnitude in 32 bits: below every threshold from 0 on, and no spike that would clear the error.
            sent = change if _wrap32(abs(compared)) >= threshold else 0
            if cumulative and _wrap32(abs(sent)) > 0:
                error = 0
            residue = _wrap32(change - sent)
            v = x
            spikes[t, k] = _right32(sent, down)
            if keep:
                probe[t, 0, k] = u
                probe[t, 1, k] = v
                probe[t, 2, k] = residue
                probe[t, 3, k] = error
        state[0, k] = u
        state[1, k] = v
        state[2, k] = residue
        state[3, k] = error


@_when_called(f"void({_ARRAYS}, boolean)")
def run_resonator(params, state, dendrite, spikes, probe, resets):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Run `nmap_loihi2.kernels.resonator`: rows cos, sin, vth, state_exp, decay_bits; `resets` for the Izhikevich model."""
    steps, n = dendrite.shape[0], state.shape[1]
    keep = probe.size > 0
    for k in range(n):
        cos, sin, threshold = _wrap32(params[0, k]), _wrap32(params[1, k]), _wrap32(params[2, k])
        up, bits = params[3, k], params[4, k]
        u, v = state[0, k], state[1, k]
        for t in range(steps):
            re = _toward_zero(cos * u, bits) - _toward_zero(sin * v, bits) + _left32(dendrite[t, k], up)
            im = _toward_zero(sin * u, bits) + _toward_zero(cos * v, bits) + _left32(dendrite[t, n + k], up)
            re, im = _saturate(re), _saturate(im)
            if resets:
                spike = 1 if im >= threshold else 0
                if spike != 0:
                    re, im = 0, _wrap32(threshold - 1)
            else:
                spike = 1 if re >= threshold and im >= 0 and v < 0 else 0
            u, v = re, im
            spikes[t, k] = spike
            if keep:
                probe[t, 0, k] = u
                probe[t, 1, k] = v
        state[0, k] = u
        state[1, k] = v


@_when_called(f"void({_ARRAYS}, int64)")
def run_adaptive(params, state, dendrite, spikes, probe, first_step):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Run `nmap_loihi2.kernels.adaptive`: rows in the order of its parameters."""
    steps, n = dendrite.shape
    keep = probe.size > 0
    for k in range(n):
        decay_u, decay_v = 4095 - params[0, k], 4096 - params[1, k]
        decay_theta, decay_rho = 4096 - params[2, k], 4096 - params[3, k]
        rest, rise = _wrap32(params[4, k] << 6), _wrap32(params[5, k] << 6)
        bias = _bias(params[6, k], params[7, k])
        u, v, theta, rho = state[0, k], state[1, k], state[2, k], state[3, k]
        if first_step == 0:
            theta = rest
        for t in range(steps):
            u = _current(_toward_zero(u * decay_u, 12) + (dendrite[t, k] << 6))
            v = _voltage(_toward_zero(v * decay_v, 12) + u + bias)
            theta = _wrap32(_toward_zero(_wrap32(theta - rest) * decay_theta, 12) + rest)
            rho = _wrap32(_toward_zero(rho * decay_rho, 12))
            if _wrap32(v - rho) >= theta:
                rho = _wrap32(rho + 2 * theta)
                theta = _wrap32(theta + rise)
                spikes[t, k] = 1
            else:
                spikes[t, k] = 0
            if keep:
                probe[t, 0, k] = u
                probe[t, 1, k] = v
                probe[t, 2, k] = theta
                probe[t, 3, k] = rho
        state[0, k] = u
        state[1, k] = v
        state[2, k] = theta
        state[3, k] = rho
