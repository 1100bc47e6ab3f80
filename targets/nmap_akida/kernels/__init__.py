"""Akida 1.0's neuron: the documented integer arithmetic of a layer with activation.

With a the sum of weights times inputs, `threshold` a whole number with sign, `act_step` in sixteenths, the smallest step there is, and
b = `act_bits` of 1, 2 or 4:

    P = a held between -2^19 and 2^19 - 1
    y = ceil(16 (P - threshold) / (act_step 2^(4 - b))) held between 0 and 2^b - 1

(cnn2snn, under Apache-2.0: `quantization_layers.py`, `quantizeml/outputs.py`, `transforms/act_step_equalization.py`.) With b = 1, y = 1
where P > threshold, whatever the step. A neuron remembers nothing from one inference to the next.

`nmap_akida.quantize` proves that no sum leaves the 20 bits of P, so that nothing is ever cut off in a network that it made. The kernel
holds P all the same, for programs that were edited by hand: a sum beyond the range must not wrap. What the chip makes of a sum that leaves
the range on its way and comes back depends on the order of its terms, which is not documented, and is not modelled.

`step` and `reference_step` are written separately: the loops of `loops` are compiled, with whole numbers of 32 bits only; the reference
step is plain numpy with 64.
"""

from __future__ import annotations

from nmap.emulate.kernel import Kernel
from nmap_akida.kernels.neuron import BINARY, GRADED, AkidaNeuron

__all__ = ["BINARY", "GRADED", "KERNELS", "AkidaNeuron"]

KERNELS: dict[str, Kernel] = {kernel.name: kernel for kernel in (BINARY, GRADED)}
"""Kernels by name."""
