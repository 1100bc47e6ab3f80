"""Cutting populations into shards and sharing the shards out over cores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nmap.partition.cut import map_network

__all__ = ["map_network"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: `nmap.mapping` imports this package's problem module, and `cut` imports `nmap.mapping`.
    if name == "map_network":
        from nmap.partition.cut import map_network

        return map_network
    raise AttributeError(name)
