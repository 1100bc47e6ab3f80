"""Run by a Python that has the vendor's package, in a process of its own, with the folder of an order: what `nmap_akida.vendor` asks of it.

It uses the package's public interface only and imports nothing of nmap: the two Pythons need not be the same one. `order.json` says what is
asked; the answer is `answer.json`, beside it the files that it names.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A script's own folder comes first on the path, where this target's modules could be taken for others of the same name.
sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).resolve().parent]

import json  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from importlib import import_module  # noqa: E402
from re import sub  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

_AT_ONCE = 1 << 22
"""Values of its largest layer that the package computes at a time, unless one inference has more."""
_LACKING = "Not enough hardware components"
"""What the package says where there are too few NPs of a kind."""


class _CannotError(Exception):
    """Why an order cannot be carried out, for the user."""


def _loaded(akida: Any, text: str) -> Any:
    """Return a model; the package takes files of its own version only, though the form has not changed in 2.19."""
    return akida.Model.from_json(sub(r'("Akida version"\s*:\s*")[^"]*"', rf'\g<1>{akida.__version__}"', text, count=1))


def _batches(values: Any, shape: tuple[int, int, int], size: int) -> Iterator[Any]:
    """Yield up to `size` inferences at a time, (k, W, H, C) uint8, of (inferences, neurons) in the order of (C, H, W)."""
    width, height, channels = shape
    for start in range(0, len(values), size):
        part = values[start : start + size]
        yield np.ascontiguousarray(part.reshape(len(part), channels, height, width).transpose(0, 3, 2, 1), np.uint8)


def _run(akida: Any, folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Compute what layers of a model send: `output_<k>.npy`, (inferences, neurons) int32 in the order of (C, H, W), of each asked for."""
    model = _loaded(akida, Path(order["model"]).read_text(encoding="utf-8"))
    values = np.load(folder / "inputs.npy")
    first = model.layers[0].parameters
    bits = 8 if str(first.layer_type).endswith("InputConvolutional") else int(first.input_bits)
    neurons = int(np.prod(model.input_shape))
    if values.shape[1] != neurons:
        raise _CannotError(f"the model takes {neurons} inputs, and the samples have {values.shape[1]}")
    if values.size and (values.min() < 0 or values.max() >= 1 << bits):
        raise _CannotError(f"inputs from {values.min()} to {values.max()} are not whole numbers of {bits} bits")
    places = {layer.name: k for k, layer in enumerate(model.layers)}
    missing = [name for name in order["layers"] if name not in places]
    if missing:
        raise _CannotError(f"it has no layer {', '.join(missing)}")
    at_once = max(1, _AT_ONCE // max(neurons, *(int(np.prod(layer.output_dims)) for layer in model.layers)))
    for k, name in enumerate(order["layers"]):
        # The package shows the last layer's output only, so each layer is made the last one.
        prefix = akida.Model(layers=model.layers[: places[name] + 1])
        size = int(np.prod(prefix.output_shape))
        parts = [
            prefix.forward(part).transpose(0, 3, 2, 1).reshape(len(part), size) for part in _batches(values, model.input_shape, at_once)
        ]
        np.save(folder / f"output_{k}.npy", np.concatenate([np.zeros((0, size), np.int32), *parts]).astype(np.int32))
    return {}


def _onto(akida: Any, text: str, variant: str, mode: str) -> Any:
    """Return a model on a virtual device, nothing of it left to the host.

    Raises:
        RuntimeError: it cannot be mapped; the package's own words.
    """
    model = _loaded(akida, text)
    model.map(getattr(akida, variant)(), hw_only=True, mode=getattr(akida.MapMode, mode))
    left = [sequence.name for sequence in model.sequences if sequence.backend != akida.BackendType.Hardware]
    if left:
        raise RuntimeError(f"{', '.join(left)} would be left to the host")
    return model


def _forms(akida: Any, folder: Path, variant: str, mode: str) -> tuple[Any, set[str]] | str:
    """Return a mapped model and its dense layers that became convolutions, or why the package refuses it.

    Dense layers are fully connected, one NP each (`connected.json`). Where NPs for them run out, those that the package has no NP for
    become convolutions one by one (`convolved.json`), then the smallest of the others; those that it refuses as convolutions become fully
    connected again, for good.
    """
    text = (folder / "connected.json").read_text(encoding="utf-8")
    try:
        return _onto(akida, text, variant, mode), set()
    except RuntimeError as error:
        words = refused = str(error)
    connected, convolved = json.loads(text), json.loads((folder / "convolved.json").read_text(encoding="utf-8"))
    names = [layer["name"] for layer in connected["layers"]]
    either = [k for k, name in enumerate(names) if connected["layers"][k] != convolved["layers"][k]]
    waiting = sorted(either, key=lambda k: (np.prod(connected["layers"][k]["variables"]["weights"]["shape"]), k))
    turned: set[int] = set()
    while waiting:
        blamed = [k for k in range(len(names)) if f"'{names[k]}'" in words]
        again = [k for k in blamed if k in turned]
        if not again and _LACKING not in words:
            break
        turned -= set(again)
        chosen = next((k for k in blamed if k in waiting), waiting[0])
        waiting.remove(chosen)
        turned.add(chosen)
        layers = [(convolved if k in turned else connected)["layers"][k] for k in range(len(names))]
        try:
            return _onto(akida, json.dumps({**connected, "layers": layers}), variant, mode), {names[k] for k in turned}
        except RuntimeError as error:
            words = str(error)
    return refused


def _survey(akida: Any, folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Map a model onto a virtual device: {"refused": words} or {"layers": NPs by layer, "convolved": layers, "facts": ...}."""
    refused = ""
    for mode in order["modes"]:
        found = _forms(akida, folder, order["variant"], mode)
        if isinstance(found, str):
            refused = refused or found
            continue
        model, turned = found
        layers: dict[str, int] = {}
        for sequence in model.sequences:
            for part in sequence.passes:
                for layer in part.layers:
                    if layer.mapping is not None:
                        layers[layer.name] = layers.get(layer.name, 0) + len(layer.mapping.nps)
        kinds = {f"nps_{str(kind).rpartition('.')[2]}": int(count) for kind, count in model.component_count.items()}
        return {
            "layers": layers,
            "convolved": [layer.name for layer in model.layers if layer.name in turned],
            "facts": {
                **dict(sorted(kinds.items())),
                "passes": sum(len(sequence.passes) for sequence in model.sequences),
                "program_bytes": sum(len(sequence.program) for sequence in model.sequences),
                "external_memory_bytes": int(model.external_memory_size),
                "mode": mode,
            },
        }
    return {"refused": refused}


def _files(akida: Any, folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Write the model in the package's own form, `model.fbz`, and the device programs: {"programs": how many, "refused": words}."""
    text = Path(order["model"]).read_text(encoding="utf-8")
    _loaded(akida, text).save(str(folder / "model.fbz"))
    refused = ""
    for mode in order["modes"]:
        try:
            model = _onto(akida, text, order["variant"], mode)
        except RuntimeError as error:
            refused = refused or str(error)
            continue
        for k, sequence in enumerate(model.sequences):
            (folder / f"program_{k}.bin").write_bytes(bytes(sequence.program))
        return {"programs": len(model.sequences)}
    return {"programs": 0, "refused": refused}


_TASKS = {"run": _run, "survey": _survey, "files": _files}


def main(folder: Path) -> None:
    """Carry out the order in a folder."""
    order = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    try:
        akida = import_module("akida")
        answer = _TASKS[order["task"]](akida, folder, order)
    except (_CannotError, ImportError, RuntimeError, ValueError) as error:
        answer = {"error": " ".join(str(error).split())}
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
