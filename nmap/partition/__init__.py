"""Cutting populations into shards and sharing the shards out over cores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nmap.partition.cut import map_network, pack_network, place_network

__all__ = ["map_network", "pack_network", "place_network"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: `nmap.mapping` imports this package's problem module, and `cut` imports `nmap.mapping`.
    if name in __all__:
        from nmap.partition import cut

        return getattr(cut, name)
    raise AttributeError(name)
