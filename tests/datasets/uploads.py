"""A small data set, uploaded through ASGI."""

from typing import Any

import httpx
import numpy as np

from service.settings import Settings

RNG = np.random.default_rng(12)
ROWS = RNG.standard_normal((60, 3))
LABELS = np.sin(ROWS[:, 0]) + 0.1 * RNG.standard_normal(60)
CSV = "a,b,c,y\n" + "\n".join(",".join(map(repr, map(float, r))) for r in np.column_stack([ROWS, LABELS]))
FORM = {"target": "y", "feature_map": '{"kind": "rbf"}', "noise_variance": "0.01", "name": "sine"}


async def post(
    client: httpx.AsyncClient, file: Any = CSV, headers: Any = None, **changes: Any
) -> httpx.Response:
    form = {key: value for key, value in (FORM | changes).items() if value is not None}
    return await client.post("/v1/datasets", files={"file": ("data", file)}, data=form, headers=headers)


async def created(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    response = await post(client, **changes)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


def nothing_left(settings: Settings) -> bool:
    """No file but finished ones."""
    return not [path for path in settings.rows_dir.rglob("*") if path.is_file()]
