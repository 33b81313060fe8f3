"""The way from a request to a stored answer, the same for every kind of distribution."""

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Response
from pydantic import BaseModel, ValidationError

from service import __version__
from service.distributions.responses import DistributionPrediction
from service.errors import InvalidInput
from service.predictions.dependencies import RecordsDep
from service.predictions.identity import identifier, input_hash
from service.predictions.record import audit_of
from service.predictions.responses import Record
from service.theory.errors import NotConverged, Unsupported
from service.web.dependencies import AsideDep, IdempotencyKey, RequestId

PREFIX = "dpr"
INLINE: Final = 1e-3  # seconds
Prediction = TypeVar("Prediction", bound=DistributionPrediction)
Result = TypeVar("Result")


def head(kind: str, request: BaseModel) -> dict[str, Any]:
    """The fields ``id``, ``engine_version``, ``input_hash`` and ``record`` of the answer to this request."""
    digest = input_hash(request)
    return {
        "id": identifier(PREFIX, kind, digest),
        "engine_version": __version__,
        "input_hash": digest,
        "record": Record(stored=True, reason=None),
    }


def computed(compute: Callable[..., Result], *args: object) -> Result:
    """``compute(*args)``. Raises InvalidInput where no number answers it."""
    try:
        return compute(*args)
    except Unsupported as error:
        raise InvalidInput.at("", "unsupported", str(error)) from error
    except NotConverged as error:
        raise InvalidInput.at("", "not_converged", f"{error}; no value is returned") from error
    except ValidationError as error:
        if any(one["type"] != "finite_number" for one in error.errors()):
            raise  # a defect of ours
        raise InvalidInput.at(
            "", "overflow",
            "The numbers of this request lie too many orders of magnitude apart for double precision: "
            "the answer would overflow. Give them in other units, or closer together.",
        ) from error  # fmt: skip


class Replies:
    """Computes and stores the answer to one HTTP request."""

    def __init__(
        self,
        response: Response,
        records: RecordsDep,
        aside: AsideDep,
        request_id: RequestId,
        idempotency_key: IdempotencyKey = None,
    ) -> None:
        self._response = response
        self._records = records
        self._aside = aside
        self._request_id = request_id
        self._key = idempotency_key

    async def prediction(
        self,
        kind: str,
        compute: Callable[..., Prediction],
        request: BaseModel,
        *others: object,
        seconds: float,
    ) -> Prediction:
        """The prediction ``compute(request, *others)`` with its ``record``, and its ETag set.

        ``seconds``: about how long it takes; a millisecond is spent on the event loop.
        """
        if seconds <= INLINE:
            answer = computed(compute, request, *others)
        else:
            answer = await self._aside.run(seconds, computed, compute, request, *others)
        audit = audit_of(request, answer, self._request_id)
        record = await self._records.keep(audit, f"distributions/{kind}", self._key, audit.input_hash)
        self._response.headers["ETag"] = f'"{answer.id}"'
        return answer if record.stored else answer.model_copy(update={"record": record})


Reply = Annotated[Replies, Depends()]
