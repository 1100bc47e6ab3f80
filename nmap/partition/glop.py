"""OR-tools' linear solver, imported so that it cannot crash the interpreter."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # OR-tools 9.14's types warn while they are made; where warnings are errors, that is a segmentation fault.
    warnings.simplefilter("ignore")
    from ortools.linear_solver import pywraplp

__all__ = ["pywraplp"]
