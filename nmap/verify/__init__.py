"""Independent checks of a mapped program.

`nmap.verify` is both this package and, in the Python interface, the function that mirrors the command `nmap verify`. Importing a submodule
binds the package to that name, so the package itself can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `nmap.api.verify`."""
        from nmap.api import verify

        return verify(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
