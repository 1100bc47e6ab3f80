"""Write a mapped network for py-spinnaker2: a script, its arrays, and the map of the elements.

Everything is taken from the program: neurons in the order of their slices, synapses as lists of [pre, post, weight, delay], parameters as
float32. The script is written from py-spinnaker2's documented interface and was never run with it.
"""

from __future__ import annotations

import io
import json
import zipfile
from importlib.resources import files
from typing import Any

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import named
from nmap.program import Program
from nmap.quantized import QuantizedNetwork
from nmap.target.spec import load_spec
from nmap_spinnaker.second.artefact import CURRENTS, Layout, connections, layouts
from nmap_spinnaker.second.audit import UNVERIFIED, VERIFIED, untraced
from nmap_spinnaker.second.numbers import real
from nmap_spinnaker.second.rescaled import nir_bytes

__all__ = ["ARRAYS", "emit"]

ARRAYS = "network.npz"
_PARAMETERS = ("threshold", "alpha_decay", "i_offset", "v_reset")
_CURRENT_PARAMETERS = ("exc_decay", "inh_decay")
_README = """\
Network mapped by nmap to {target} ({elements}), for py-spinnaker2.

Not run: py-spinnaker2 is not public on PyPI, and no chip was at hand. The script uses what py-spinnaker2 documents, nothing else.

  run.py          builds the network and runs it; needs numpy and py-spinnaker2 (https://gitlab.com/spinnaker2/py-spinnaker2)
  network.npz     its arrays: integer weights, float32 parameters, the order of the neurons
  core_map.json   which slice nmap put on which processing element; py-spinnaker2 cuts populations alike, and places the slices itself
{nir}
  python run.py --input S.npz --out OUT.npz --chip ETH_IP      one chip
  python run.py --input S.npz --out OUT.npz --board STM_IP     a board of 48 chips
  python run.py --input S.npz --out OUT.npz --brian2           py-spinnaker2's simulator, whose lif_curr_exp is not the chip's

S.npz holds {given}, 0 or 1. OUT.npz holds {sent}, put back into the
network's time; with --raw-time in the chip's own: input column t is sent in step t, and a spike of step t acts in step t + 1 + its delay.
The output runs {latency} behind the input.
{verified}
"""


_NIR = """\
  network.nir     the same integers and numbers for `s2_nir.from_nir`, with ConversionConfig(dt=1.0, conn_delay=0, scale_weights=False,
                  integrator=IntegratorMethod.FORWARD, reset=ResetMethod.{reset}); the cuts of the populations are not in it
"""


def _npz(arrays: dict[str, Array]) -> bytes:
    """Return an .npz file, the same bytes for the same arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            # A fixed date and system: zip entries otherwise carry the time of writing.
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(info, member.getvalue(), compresslevel=6)
    return buffer.getvalue()


def emit(network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
    """Return `run.py`, `network.npz`, `core_map.json`, `README.txt`, and `network.nir` where there is one.

    The same input gives the same bytes.

    Args:
        network: the quantized network, for its settings.
        program: its mapping; kernels of `nmap_spinnaker.second`.
    """
    most = load_spec("nmap_spinnaker", "chip2.toml").limits["sources_per_element"].max
    written = layouts(program, most)
    arrays: dict[str, Array] = {}
    populations = [_population(program, k, layout, arrays) for k, layout in enumerate(written)]
    projections = []
    synapses = connections(program)
    for number, listed in enumerate(synapses):
        for name, values, kind in (
            ("pre", listed.pre, np.uint32), ("post", listed.post, np.uint32), ("weight", listed.weight, np.int8),
            ("delay", listed.delay, np.uint8),
        ):
            arrays[f"e{number}.{name}"] = values.astype(kind)
        projections.append([listed.source, listed.target])
    settings = network.settings
    meta = {
        "schema": "nmap.py-spinnaker2/1", "target": f"{program.target}:{program.variant}", "populations": populations,
        "projections": projections, "latency": program.latency,
        "tick_s": settings["timestep_us"] * settings["time_scale"] / 1e6 if settings else 1e-3,
    }
    arrays["meta"] = np.frombuffer(json.dumps(meta, sort_keys=True).encode(), np.uint8)
    script = files("nmap_spinnaker.second").joinpath("run.py.j2").read_text(encoding="utf-8")
    nir = nir_bytes(program, synapses)
    made = {
        "run.py": script.encode(), ARRAYS: _npz(arrays), "core_map.json": _core_map(program, written),
        "README.txt": _readme(program, rescaled=nir is not None),
    }
    return made if nir is None else made | {"network.nir": nir}


def _population(program: Program, number: int, layout: Layout, arrays: dict[str, Array]) -> dict[str, Any]:
    """Return a population's entry of `meta`, and put its parameters into `arrays`, in the order of writing."""
    population = program.populations[layout.population]
    entry: dict[str, Any] = {
        "name": population.name, "shape": list(population.shape), "model": layout.model or "spike_list", "sizes": list(layout.sizes),
        "atoms": list(layout.atoms), "input": population.is_input, "output": population.is_output, "latency": population.latency,
    }
    arrays[f"p{number}.order"] = layout.order.astype(np.uint32)
    if layout.model is None:
        return entry
    groups = [program.groups[k] for k in layout.groups]
    for name in _PARAMETERS + (_CURRENT_PARAMETERS if groups[0].kernel in CURRENTS else ()):
        arrays[f"p{number}.{name}"] = np.concatenate([real(group.params[name]) for group in groups])
    start = np.concatenate([real(group.initial.get("v", np.zeros(group.size))) for group in groups])
    if start.any():
        arrays[f"p{number}.v_init"] = start
    entry["reset"] = "reset_by_subtraction" if groups[0].params["subtract"].any() else "reset_to_v_reset"
    return entry


def _core_map(program: Program, written: tuple[Layout, ...]) -> bytes:
    """Return which neurons, by their places in the order of writing, nmap put on which element."""
    slices = []
    for layout in written:
        first = 0
        for k in layout.groups:
            group = program.groups[k]
            core = program.cores[group.core]
            slices.append({
                "population": program.populations[group.population].name, "first": first, "neurons": group.size, "chip": core.chip,
                "element": core.core,
            })
            first += group.size
    return (json.dumps({"slices": slices}, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _readme(program: Program, *, rescaled: bool) -> bytes:
    def counted(number: int, noun: str) -> str:
        return f"{number} {noun}{'' if number == 1 else 's'}"

    ports = [p for p in program.populations if p.is_input]
    outputs = [p for p in program.populations if p.is_output]
    given = f"`inputs` (samples, time, {', '.join(map(str, ports[0].shape))})" if len(ports) == 1 else ", ".join(
        f"`inputs.{p.name}` (samples, time, {', '.join(map(str, p.shape))})" for p in ports
    )
    sent = f"`spikes` (samples, steps, {', '.join(map(str, outputs[0].shape))})" if len(outputs) == 1 else ", ".join(
        f"`spikes.{p.name}` (samples, steps, {', '.join(map(str, p.shape))})" for p in outputs
    )
    proven = [p.name for k, p in enumerate(program.populations) if not p.is_input and not untraced(program, k)]
    reset = "SUBTRACT" if any(group.params["subtract"].any() for group in program.groups) else "ZERO"
    verified = "\n".join([
        *([f"{named(proven)}: verified by {VERIFIED}."] if proven else []), f"Everything else: {UNVERIFIED}.",
    ])
    return _README.format(
        target=f"{program.target}:{program.variant}", elements=counted(len(program.cores), "processing element"), given=given, sent=sent,
        latency=counted(program.latency, "step"), verified=verified, nir=_NIR.format(reset=reset) if rescaled else "",
    ).encode()
