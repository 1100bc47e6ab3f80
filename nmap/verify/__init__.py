"""Independent checks of a mapped program."""
