"""The id in the path of a simulation."""

import re
from typing import Annotated, Final

from fastapi import Depends, Path

from service.errors import NotFound

_ID: Final = re.compile(r"sim_[a-z0-9]{26}")


async def _simulation_id(simulation_id: Annotated[str, Path()]) -> str:
    """What cannot be an id is not asked for in the database."""
    if not _ID.fullmatch(simulation_id):
        raise NotFound("There is no such simulation: ids are sim_ and 26 lower-case letters and digits.")
    return simulation_id


SimulationId = Annotated[str, Depends(_simulation_id)]
