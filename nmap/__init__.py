"""Compile a spiking network to a neuromorphic chip."""
