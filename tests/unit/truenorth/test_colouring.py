"""Colours of sources against brute force over all colourings of small networks."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nmap_truenorth.colouring import colour_sources


def colour(matrix):
    target, source = np.nonzero(matrix)
    return colour_sources(source, target, matrix[target, source].astype(np.int64), matrix.shape[1])


def good(matrix, colours):
    """Whether every neuron has one weight for each colour that it hears."""
    return all(
        len({int(w) for w, c in zip(row, colours, strict=True) if w and c == colour}) <= 1 for row in matrix for colour in range(4)
    )


def exists(matrix):
    return any(good(matrix, (0, *rest)) for rest in product(range(4), repeat=matrix.shape[1] - 1))


@pytest.mark.parametrize("seed", range(60))
def test_an_answer_is_right_and_a_proof_is_true(seed):
    rng = np.random.default_rng(seed)
    sources = int(rng.integers(2, 8))
    matrix = rng.integers(-2, 3, (int(rng.integers(1, 7)), sources)) * (rng.random((1, sources)) < 0.95)
    answer = colour(matrix)
    assert answer.status == ("found" if exists(matrix) else "none")
    if answer.colours is not None:
        assert answer.colours.shape == (sources,)
        assert good(matrix, answer.colours.tolist())


def edges(pairs, vertices):
    """A network whose conflicts are these edges: a neuron for each, with two different weights."""
    matrix = np.zeros((len(pairs), vertices), np.int64)
    for k, (a, b) in enumerate(pairs):
        matrix[k, a], matrix[k, b] = 1, 2
    return matrix


def wheel(rim):
    """A ring of vertices, a middle joined to all of them, and one more joined to everything: 5 colours where the ring is odd."""
    ring = [(k, (k + 1) % rim) for k in range(rim)]
    return [*ring, *((k, rim) for k in range(rim)), *((k, rim + 1) for k in range(rim + 1))]


def test_no_clique_and_yet_no_colours():
    """An odd ring with two middles has no five vertices joined to each other, and needs five colours all the same."""
    answer = colour(edges(wheel(7), 9))
    assert answer.status == "none"


def test_an_even_ring_needs_four():
    matrix = edges(wheel(8), 10)
    answer = colour(matrix)
    assert answer.colours is not None
    assert good(matrix, answer.colours.tolist())


def test_planted_colours_are_found_beyond_what_greedy_does():
    """Graphs with a hidden colouring, dense enough that the first choice of a colour is often wrong."""
    for seed in range(6):
        rng = np.random.default_rng([5, seed])
        hidden = rng.integers(0, 4, 40)
        pairs = [(a, b) for a in range(40) for b in range(a) if hidden[a] != hidden[b] and rng.random() < 0.28]
        matrix = edges(pairs, 40)
        answer = colour(matrix)
        assert answer.colours is not None, seed
        assert good(matrix, answer.colours.tolist())


def test_one_weight_a_source_takes_one_colour_a_sign():
    rng = np.random.default_rng(3)
    sign = rng.choice([-1, 1], 300)
    answer = colour((rng.random((50, 300)) < 0.5) * sign)
    assert answer.colours is not None
    assert np.unique(answer.colours).size == 2


def test_two_weights_of_one_source_at_one_neuron():
    answer = colour_sources(np.array([0, 0]), np.array([3, 3]), np.array([1, 2]), 1)
    assert (answer.status, answer.colours) == ("none", None)


def test_no_synapses():
    answer = colour(np.zeros((3, 4), np.int64))
    assert answer.colours is not None
    assert answer.colours.tolist() == [0, 0, 0, 0]


def test_the_answer_is_the_same_again():
    rng = np.random.default_rng(8)
    matrix = rng.choice([-1, 0, 0, 0, 0, 1], (40, 40))
    first, second = colour(matrix), colour(matrix)
    assert first.status == second.status
    if first.colours is not None:
        np.testing.assert_array_equal(first.colours, second.colours)
