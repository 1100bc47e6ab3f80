"""Plain numpy simulators of the unmapped network: obviously right, not fast."""
