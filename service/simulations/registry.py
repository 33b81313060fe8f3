"""Every kind of simulation, by name; a new kind is an entry here (docs/architecture.md says how)."""

from typing import Any, Final

from service.simulations.kinds import Kind
from service.simulations.regression import REGRESSION

KINDS: Final[dict[str, Kind[Any, Any]]] = {kind.name: kind for kind in (REGRESSION,)}
