"""`python -m nmap` is the command `nmap`."""

from __future__ import annotations

import sys

from nmap.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
