"""Run a core program in the chip's integer arithmetic."""
