"""What the service answers when it cannot do what it was asked: Problem Details for HTTP APIs (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from medmm.errors import DataError, MedmmError

MEDIA_TYPE = "application/problem+json"
_READ_THE_API = "See /openapi.json for what the service takes"


class RequestError(MedmmError):
    """A request that cannot be served: an HTTP status, a code, a problem and its remedy."""

    def __init__(
        self, status: HTTPStatus, code: str, problem: str, remedy: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(problem, remedy)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})


class Problem(BaseModel):
    """The body of every answer of status 400 and above. Never holds a patient's name, id or note."""

    type: str = Field("about:blank", description="The title is that of the status (RFC 9457, 4.2.1).")
    title: str
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="The problem and its remedy as one line.")
    code: str = Field(description="For programs; of a case that cannot be read, its code in quarantine.csv.")
    problem: str
    remedy: str
    request_id: str = Field(description="As X-Request-ID and in the service's log.")


def answer(error: RequestError, request_id: str) -> Response:
    """Dress an error as a response."""
    body = Problem(
        title=error.status.phrase,
        status=error.status,
        detail=str(error),
        code=error.code,
        problem=error.problem,
        remedy=error.remedy,
        request_id=request_id,
    )
    return Response(body.model_dump_json(), error.status, error.headers, MEDIA_TYPE)


def documented(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these statuses."""
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {int(one): {"description": one.phrase, "content": content} for one in statuses}


def internal() -> RequestError:
    """Return the answer to what nobody foresaw, of which nothing is told."""
    problem, remedy = "the service failed", "Give the request id to those who run it"
    return RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", problem, remedy)


def install(app: FastAPI) -> None:
    """Let every error of an app be answered as a problem; what was sent is never quoted."""

    def told(request: Request, error: Exception) -> Response:
        return answer(_told(error), request.state.request_id)

    for kind in (RequestError, DataError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, told)


def _told(error: Exception) -> RequestError:
    """The answer to an error: of a case that cannot be read, 422 with its reason code."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, DataError):
        return RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, error.code.value, error.problem, error.remedy)
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        code = status.phrase.lower().replace(" ", "-")
        return RequestError(status, code, status.description or status.phrase, _READ_THE_API, error.headers)
    problem = "a parameter of the request is not understood"
    return RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad-parameter", problem, _READ_THE_API)
