"""Placing clusters on the machine: problem, start, local search and bounds, for any algorithm to build on."""
