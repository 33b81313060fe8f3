"""What a prediction is called: a hash of its canonical input, the engine and the order."""

import base64
import hashlib
import json
from typing import Any

from pydantic import BaseModel

from service import __version__

ID_LENGTH = 26

HASHING: dict[str, object] = {}
"""Serialisation context of ``input_hash``: long lists of numbers may then stand by a digest of their own."""


def input_hash(request: BaseModel) -> str:
    """sha256 of the request with every default filled in, keys sorted: equal inputs have equal hashes."""
    content = canonical(request.model_dump(mode="json", context=HASHING))
    return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces, the shortest digits that give each float back."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def identifier(prefix: str, *parts: str) -> str:
    """``prefix_`` and 26 lower-case letters and digits, determined by the parts."""
    digest = hashlib.sha256("\n".join((*parts, __version__)).encode()).digest()
    return f"{prefix}_{base64.b32encode(digest).decode().lower()[:ID_LENGTH]}"
