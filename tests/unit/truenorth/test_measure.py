"""Counting a program's cores: hand-made blocks that share axons, and copies."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np

import nmap_truenorth.measure as module
from nmap.connectivity import Dense, Sparse
from nmap.program import Core, NeuronGroup, Program, ProgramPopulation, Routes, SynapseBlock
from nmap_truenorth.measure import measure


def block(core, group, axon, synapses):
    return SynapseBlock(core, group, axon, synapses, None, 0, 0, 0, 9, "mixed")


def test_shared_axons_count_once_and_bits_of_copies_too():
    """Core 0: two neurons, three copies, axons 0 to 2 that both hear and axon 3 that the neurons alone hear; core 1: nothing heard."""
    populations = (
        ProgramPopulation("in", (4,), 0, True, False), ProgramPopulation("a", (3,), 1, False, True),
        ProgramPopulation("a.copies", (3,), 1, False, False),
    )
    groups = (
        NeuronGroup(0, 1, np.array([0, 2]), "k", {}, {}), NeuronGroup(1, 1, np.array([1]), "k", {}, {}),
        NeuronGroup(0, 2, np.arange(3), "k", {}, {}),
    )
    blocks = (
        block(0, 0, 0, Dense(np.array([[1, 0, 2], [0, 0, 3]], np.int32))), block(0, 2, 0, Dense(np.ones((3, 3), np.int32))),
        block(0, 0, 3, Sparse(np.array([0, 1, 1]), np.array([0]), np.array([-4], np.int32), 1)),
    )
    nothing = tuple(Routes(np.zeros(g.size + 1), np.zeros(0), np.zeros(0)) for g in groups)
    program = Program(
        "truenorth", "ns1e", populations, (Core(0, 0, 0, 0), Core(0, 1, 0, 1)), groups, blocks, nothing, {}, 0,
        {2: (1, np.array([0, 0, 2]))},
    )
    assert measure(program) == (
        {"axons": 4, "originals": 2, "neurons": 5, "synapses": 13}, {"axons": 0, "originals": 1, "neurons": 1, "synapses": 0},
    )


def test_it_shares_no_code_with_what_it_checks():
    """The module imports nothing of the target."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in imported if name and name.startswith("nmap_truenorth")]
