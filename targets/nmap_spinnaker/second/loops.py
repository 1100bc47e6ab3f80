"""The compiled form of SpiNNaker 2's neurons (`nmap_spinnaker.second.kernels`)."""

# ruff: noqa: ARG001 - a step takes what every step takes

from __future__ import annotations

import numpy as np

from nmap.compiled import compiled, native
from nmap.emulate.kernel import SHARED, STEP
from nmap.pointers import carray, float32_at, int32_at, uint8_at

__all__ = ["lif", "lif_curr_exp"]

_F = np.float32
_NAN = np.float32(np.nan)


@compiled(inline="always")
def _one_nan(x):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return the number, with the same bits for every number that is none."""
    return x if x == x else _NAN


@compiled(inline="always")
def _fired(v, threshold, reset, subtract):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return whether the neuron fires, and its potential afterwards."""
    fires = v > threshold
    lowered = _F(v - threshold) if subtract != np.int32(0) else reset
    return fires, _one_nan(lowered if fires else v)


@compiled(inline="always")
def _advance(v, total, alpha, threshold, offset, reset, subtract):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    moved = _F(_F(_F(alpha * v) + _F(total)) + offset)
    return _fired(moved, threshold, reset, subtract)


@compiled(inline="always")
def _advance_current(v, up, down, more, less, c):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return whether the neuron fires, and v, i_exc and i_inh afterwards."""
    alpha, threshold, offset, reset, subtract, keep_up, keep_down = c
    up, down = _F(_F(keep_up * up) + _F(more)), _F(_F(keep_down * down) + _F(less))
    moved = _F(_F(_F(alpha * v) + _F(up - down)) + offset)
    fires, after = _fired(moved, threshold, reset, subtract)
    return fires, after, _one_nan(up), _one_nan(down)


@native(STEP)
def lif(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_spinnaker.second.kernels.LifKernel`; arguments as in `nmap.emulate.kernel.Kernel.step`."""
    count, row, own = last - first, 4 * n, constants + 4 * first
    v, total = carray(float32_at(state + 4 * first), count), carray(int32_at(dendrite + 4 * first), count)
    spikes = carray(uint8_at(sent + first), count)
    if shared == SHARED:
        c, mode = carray(float32_at(constants), (5, n)), carray(int32_at(constants), (5, n))
        alpha, threshold, offset, reset, subtract = c[0, 0], c[1, 0], c[2, 0], c[3, 0], mode[4, 0]
        for j in range(count):
            spikes[j], v[j] = _advance(v[j], total[j], alpha, threshold, offset, reset, subtract)
    else:
        c0, c1 = carray(float32_at(own), count), carray(float32_at(own + row), count)
        c2, c3 = carray(float32_at(own + 2 * row), count), carray(float32_at(own + 3 * row), count)
        c4 = carray(int32_at(own + 4 * row), count)
        for j in range(count):
            spikes[j], v[j] = _advance(v[j], total[j], c0[j], c1[j], c2[j], c3[j], c4[j])


@native(STEP)
def lif_curr_exp(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_spinnaker.second.kernels.CurrentKernel`; arguments as in `nmap.emulate.kernel.Kernel.step`."""
    count, row, own = last - first, 4 * n, constants + 4 * first
    base, here = state + 4 * first, dendrite + 4 * first
    v, up, down = carray(float32_at(base), count), carray(float32_at(base + row), count), carray(float32_at(base + 2 * row), count)
    more, less = carray(int32_at(here), count), carray(int32_at(here + row), count)
    spikes = carray(uint8_at(sent + first), count)
    if shared == SHARED:
        c, mode = carray(float32_at(constants), (7, n)), carray(int32_at(constants), (7, n))
        one = (c[0, 0], c[1, 0], c[2, 0], c[3, 0], mode[4, 0], c[5, 0], c[6, 0])
        for j in range(count):
            spikes[j], v[j], up[j], down[j] = _advance_current(v[j], up[j], down[j], more[j], less[j], one)
    else:
        c0, c1 = carray(float32_at(own), count), carray(float32_at(own + row), count)
        c2, c3 = carray(float32_at(own + 2 * row), count), carray(float32_at(own + 3 * row), count)
        c4, c5 = carray(int32_at(own + 4 * row), count), carray(float32_at(own + 5 * row), count)
        c6 = carray(float32_at(own + 6 * row), count)
        for j in range(count):
            each = (c0[j], c1[j], c2[j], c3[j], c4[j], c5[j], c6[j])
            spikes[j], v[j], up[j], down[j] = _advance_current(v[j], up[j], down[j], more[j], less[j], each)
