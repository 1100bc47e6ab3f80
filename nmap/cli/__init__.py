"""The command line: parse, call the flow, render."""
