"""Helpers every target's quantization shares: realised delays, weight grids, loss accounting."""
