"""Neurons of other chips than the built-in targets', and random programs of those chips' shape, for `benchmarks/other_chips.py`."""
