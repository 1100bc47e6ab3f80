"""A validator for the part of JSON Schema that nmap's schema uses; unknown keywords are an error, so it never passes by ignorance."""

from __future__ import annotations

import re
from typing import Any

_TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "number": (int, float), "integer": int,
}
_KEYWORDS = {
    "$schema", "$id", "$defs", "title", "description", "type", "properties", "required", "additionalProperties", "items", "enum", "const",
    "minimum", "pattern", "$ref",
}


def problems(value: Any, schema: dict[str, Any], *, closed: bool = False, root: dict[str, Any] | None = None, at: str = "$") -> list[str]:
    """Return what in `value` breaks `schema`; with `closed`, keys the schema does not name break it too."""
    root = schema if root is None else root
    assert set(schema) <= _KEYWORDS, set(schema) - _KEYWORDS
    if "$ref" in schema:
        return problems(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], closed=closed, root=root, at=at)
    found = []
    if "const" in schema and value != schema["const"]:
        found.append(f"{at} is {value!r}, not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at} is {value!r}, not one of {schema['enum']}")
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_is(value, name) for name in names):
            return [*found, f"{at} is {value!r}, not {' or '.join(names)}"]
    if "minimum" in schema and value is not None and value < schema["minimum"]:
        found.append(f"{at} is {value}, below {schema['minimum']}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{at} is {value!r}, which does not match {schema['pattern']}")
    if isinstance(value, dict):
        known = schema.get("properties", {})
        found += [f"{at}.{key} is missing" for key in schema.get("required", ()) if key not in value]
        for key, item in value.items():
            rule = known.get(key, schema.get("additionalProperties"))
            if rule is not None:
                found += problems(item, rule, closed=closed, root=root, at=f"{at}.{key}")
            elif closed:
                found.append(f"{at}.{key} is not in the schema")
    if isinstance(value, list) and "items" in schema:
        for k, item in enumerate(value):
            found += problems(item, schema["items"], closed=closed, root=root, at=f"{at}[{k}]")
    return found


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])
