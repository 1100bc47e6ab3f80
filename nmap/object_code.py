"""Machine code in memory: what LLVM made of a function is kept as an object file and becomes a function at an address again.

That takes llvmlite alone, which loads in a tenth of the time that numba does: a process that finds all it needs on disk never imports
numba. See `nmap.machine_code` for what is found.
"""

from __future__ import annotations

import pickle
from functools import cache
from typing import Any

from llvmlite import binding

from nmap.machine_code import Recipe

__all__ = ["Placed", "assemble", "load", "save"]

_LOCAL = ("numba.dynamic.globals", "_ZN08NumbaEnv")
"""Beginnings of the names of variables that numba fills with addresses of the process."""


class Placed:
    """A function in memory, which lives as long as this object.

    Args:
        engine: that holds the code.
        address: where it begins.
    """

    def __init__(self, engine: Any, address: int) -> None:
        self.engine, self.address = engine, address


@cache
def _target() -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_triple(binding.get_process_triple())


def _machine() -> Any:
    """Return LLVM's description of this processor, with numba's choices, so that code kept is as fast as code just compiled."""
    return _target().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten(), opt=3, reloc="default", codemodel="jitdefault",
        jit=True,
    )


def _engine() -> Any:
    """Return what holds code in memory; it owns its description of the processor."""
    return binding.create_mcjit_compiler(binding.parse_assembly(""), _machine())


def _variant(signature: str) -> str:
    return f"{signature} {binding.get_process_triple()} {binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"


def _without_errors(module: Any, name: str, machine: Any) -> None:
    """Take out what reports errors to the interpreter where there can be none, which is nearly always.

    All other functions become the module's own: their names are unique in one process only.
    """
    for function in module.functions:
        if not function.is_declaration and function.name != name:
            function.linkage = "internal"
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=2))
    passes = binding.create_new_module_pass_manager()
    passes.add_ipsccp_pass()
    passes.add_simplify_cfg_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_strip_dead_prototype_pass()
    passes.run(module, builder)


def assemble(text: str, name: str) -> bytes | None:
    """Return what can be kept of a function, None where its code holds addresses of this process.

    Args:
        text: a module of LLVM's language, optimised.
        name: of the function.
    """
    machine = _machine()
    module = binding.parse_assembly(text)
    if any(text.count(value.name) > 1 for value in module.global_variables if value.name.startswith(_LOCAL)):
        return None
    _without_errors(module, name, machine)
    outside = [value.name for value in (*module.functions, *module.global_variables) if value.is_declaration]
    # LLVM's own intrinsics become instructions or calls of the C library.
    outside = [other for other in outside if not other.startswith("llvm.")]
    return pickle.dumps((name, outside, machine.emit_object(module)))


def save(recipe: Recipe, signature: str, body: bytes) -> None:
    """Keep what `assemble` returned."""
    recipe.save(_variant(signature), body)


def load(recipe: Recipe, signature: str) -> Placed | None:
    """Return a function that was kept, None where none is, or one that calls what this process does not have."""
    body = recipe.load(_variant(signature))
    if body is None:
        return None
    name, outside, content = pickle.loads(body)
    _target()
    if not all(binding.address_of_symbol(other) for other in outside):
        return None
    # Each has its own: functions of one name, of two versions of a source, may be in memory at once.
    engine = _engine()
    engine.add_object_file(binding.ObjectFileRef.from_data(content))
    engine.finalize_object()
    address = engine.get_function_address(name)
    return Placed(engine, address) if address else None
