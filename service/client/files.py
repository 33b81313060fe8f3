"""Request files: JSON or YAML, from a path or standard input."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml


class RequestFileError(Exception):
    """The request file cannot be read."""


def _once(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """The object of these pairs. Raises ValueError where a name comes twice: which of both is meant nobody can tell."""
    found: dict[Any, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f'"{name}" is given twice')
        found[name] = value
    return found


class _Loader(yaml.SafeLoader):
    """YAML with the numbers of YAML 1.2: PyYAML reads 1e-3 as text. A name given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # of the node as it is written: what a merge (<<) brings may be overwritten
        names = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        _once([(self.construct_object(name, deep=True), None) for name in names])
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+"),
    list("-+.0123456789"),
)


def read_request(path: str) -> dict[str, Any]:
    """The object in the file (``-``: standard input). Raises RequestFileError."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestFileError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        # JSON first: it is not quite a subset of what PyYAML reads
        is_json = text.lstrip().startswith("{")
        value = json.loads(text, object_pairs_hook=_once) if is_json else yaml.load(text, _Loader)
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise RequestFileError(f"{path} is neither JSON nor YAML of plain values: {error}") from error
    if not isinstance(value, dict):
        raise RequestFileError(f"{path}: a request is an object with `dataset` and `training_mix`")
    return value
