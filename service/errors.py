"""One tree of errors: the class's docstring is the title a client reads, with a stable code and status each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field: where (RFC 6901 pointer into the body), a stable code, and a way out.

    ``parameter``: `query.NAME` where it is no field of the body; then the pointer says nothing.
    """

    pointer: str
    code: str
    message: str
    parameter: str | None = None


class ServiceError(Exception):
    """The service could not do this."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(
        self, detail: str, *, errors: Sequence[FieldError] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    @classmethod
    def title(cls) -> str:
        """The class's docstring, first line."""
        return (cls.__doc__ or "").strip().splitlines()[0]


class InvalidInput(ServiceError):
    """Something in the request cannot be used; ``errors`` says where."""

    status = 422
    code = "invalid_input"

    @classmethod
    def at(cls, pointer: str, code: str, message: str) -> "InvalidInput":
        """An error about one field."""
        return cls(message, errors=(FieldError(pointer, code, message),))


class NotFound(ServiceError):
    """There is no such resource."""

    status = 404
    code = "not_found"


class Conflict(ServiceError):
    """The request conflicts with what is stored."""

    status = 409
    code = "conflict"


class IdempotencyConflict(Conflict):
    """This Idempotency-Key was used with another request."""

    code = "idempotency_key_reused"


class RowsDeleted(Conflict):
    """The rows of this data set were deleted; its description and its predictions remain."""

    code = "rows_deleted"


class PayloadTooLarge(ServiceError):
    """The request is larger than this service accepts."""

    status = 413
    code = "payload_too_large"


class NotAcceptable(ServiceError):
    """None of the formats in Accept is available."""

    status = 406
    code = "not_acceptable"


class UnsupportedMedia(ServiceError):
    """This format is not understood."""

    status = 415
    code = "unsupported_media_type"


class TooManyRequests(ServiceError):
    """The service is busy; try again after the time in Retry-After."""

    status = 429
    code = "too_many_requests"


class DatabaseUnavailable(ServiceError):
    """The database cannot be reached; predictions still work, nothing was stored."""

    status = 503
    code = "database_unavailable"
