"""``order`` as a parameter of the query where the body has it too."""

from typing import Annotated, TypeVar

from fastapi import Query
from pydantic import BaseModel

from service.errors import InvalidInput

OrderParameter = Annotated[
    int | None, Query(ge=0, le=1, description="As for one prediction; the same as `order` in the body.")
]
Request = TypeVar("Request", bound=BaseModel)


def with_order(request: Request, order: int | None) -> Request:
    """The request, which has a field ``order``, with that of the query. Raises InvalidInput where they differ."""
    if order is None:
        return request
    given = request.model_dump(include={"order"}, exclude_unset=True).get("order", order)
    if given != order:
        raise InvalidInput.at(
            "/order", "two_orders", f"the query says order {order} and the body {given}; give one of them"
        )
    return request.model_copy(update={"order": order})
