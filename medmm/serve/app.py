"""The HTTP service: a case in by POST /v1/predictions, findings out; health and metrics beside it.

A request passes, in this order: its token, a free place, the limits of its body, the reader, the model. Whoever is
turned away is turned away before anything of the body is read.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import mimeparse
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel

from medmm.config import CohortConfig, NumberColumn
from medmm.result import ScoredCase
from medmm.serve import problem
from medmm.serve.answer import Answer, answer_of
from medmm.serve.engine import Engine
from medmm.serve.problem import RequestError, documented
from medmm.serve.upload import FILES, NOTE, PRIOR, RECORD, Limits, receive, row_of
from medmm.serve.watch import Metrics, Watch, id_of
from medmm.write.dicom.report import report_of
from medmm.write.dicom.study import write_dicom
from medmm.write.fhir import Release, bundle_of


class Format(StrEnum):
    """How an answer is written."""

    JSON = "json"
    FHIR = "fhir"
    SR = "sr"


MEDIA_TYPES = {Format.JSON: "application/json", Format.FHIR: "application/fhir+json", Format.SR: "application/dicom"}


_SCHEME = HTTPBearer(auto_error=False, description="The token that the service was started with.")


class Health(BaseModel):
    """That the service runs, and with what."""

    model_id: str


def create_app(engine: Engine, spool: Path, token: str = "", limits: Limits = Limits()) -> FastAPI:  # noqa: B008
    """Make the service around an engine that runs.

    Args:
        engine: entered by the caller, who also leaves it.
        spool: folder for uploads while they are worked on, on a disk with room for them.
        token: what a client must bear; empty for none.
        limits: of one request.
    """
    app = FastAPI(
        title="medmm",
        version=version("medmm"),
        description="Calibrated, explained findings of one case. Decision support for research, not a medical device.",
        docs_url=None,
        redoc_url=None,
    )
    metrics = Metrics(engine)
    problem.install(app)
    app.add_middleware(Watch, metrics=metrics)
    guarded = [Depends(_bearer(token))]

    @app.get("/health/live", tags=["health"])
    async def live() -> Health:
        """Whether the process answers."""
        return Health(model_id=engine.model.model_id)

    @app.get("/health/ready", tags=["health"], responses=documented(HTTPStatus.SERVICE_UNAVAILABLE))
    async def ready() -> Health:
        """Whether a case would be taken now: 503 while every place is held."""
        engine.require_place()
        return Health(model_id=engine.model.model_id)

    @app.get(
        "/metrics",
        tags=["health"],
        dependencies=guarded,
        response_class=PlainTextResponse,
        responses=documented(HTTPStatus.UNAUTHORIZED),
    )
    async def read_metrics() -> Response:
        """What Prometheus collects."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    @app.post(
        "/v1/predictions",
        tags=["predictions"],
        dependencies=guarded,
        response_model=Answer,
        openapi_extra={"requestBody": _body(engine.config)},
        responses=_RESPONSES,
    )
    async def predict(
        request: Request,
        explain: Annotated[bool, Query(description="JSON: maps, words and record values with each finding.")] = False,
        wanted: Annotated[
            Format | None, Query(alias="format", description="Instead of the header Accept; json if neither says.")
        ] = None,
        release: Annotated[Release, Query(description="FHIR: which one.")] = "R4",
    ) -> Response:
        """Score one case: the images of one study, its note, its record, and what else belongs to it."""
        chosen = wanted or _accepted(request.headers)
        case_id = id_of(request)
        with engine.place(), TemporaryDirectory(dir=spool) as folder:
            await receive(request.stream(), request.headers, Path(folder), limits)
            scored = await engine.score(row_of(Path(folder), case_id, engine.config), explained=explain)
            written = await asyncio.to_thread(_written, scored, chosen, explain, release, Path(folder))
        return Response(written, media_type=MEDIA_TYPES[chosen])

    return app


def _written(scored: ScoredCase, chosen: Format, explain: bool, release: Release, folder: Path) -> bytes:
    """Write an answer.

    Raises:
        DataError: if a DICOM SR is asked of a case that was not read from a DICOM study.
    """
    if chosen is Format.JSON:
        return answer_of(scored, explain).model_dump_json().encode()
    now = datetime.now(UTC)
    if chosen is Format.FHIR:
        return json.dumps(bundle_of(scored, now, (), release)).encode()
    write_dicom(folder / "report.dcm", report_of(scored, now))
    return (folder / "report.dcm").read_bytes()


def _bearer(token: str) -> Any:
    """A dependency that lets only those in who bear the token (RFC 6750); anyone without one."""

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_SCHEME)]) -> None:
        bears = given.credentials.encode() if given else b""
        if not hmac.compare_digest(bears, token.encode()):
            raise RequestError(
                HTTPStatus.UNAUTHORIZED,
                "unauthorized",
                "the request bears no token, or a wrong one",
                "Send Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer", "Connection": "close"},
            )

    return check if token else lambda: None


def _accepted(headers: Mapping[str, str]) -> Format:
    """The format that a client likes best (RFC 9110 12.5.1).

    Raises:
        RequestError: 406 if it likes none of them.
    """
    kinds = {kind: one for one, kind in reversed(MEDIA_TYPES.items())}  # of equals the last one is taken
    try:
        best = mimeparse.best_match(list(kinds), headers.get("accept") or "*/*")
    except mimeparse.MimeTypeParseException:
        best = ""
    if not best:
        given = ", ".join(MEDIA_TYPES.values())
        raise RequestError(
            HTTPStatus.NOT_ACCEPTABLE, "not-acceptable", "no format is acceptable", f"Accept one of {given}"
        )
    return kinds[best]


_BINARY = {"type": "string", "format": "binary"}


def _body(config: CohortConfig) -> dict[str, Any]:
    """What OpenAPI says of a request, with the columns of the record that the model knows."""
    properties = {
        FILES: {
            "type": "array",
            "items": _BINARY,
            "minItems": 1,
            "description": "The images of one study: DICOM, PNG or JPEG files, or one zip archive of them.",
        },
        PRIOR: {
            "type": "array",
            "items": _BINARY,
            "description": "As files, of an earlier study of the same patient.",
        },
        NOTE: {"type": "string", "description": "Free text, UTF-8, at most 1 MiB."},
        RECORD: {
            "type": "object",
            "additionalProperties": False,
            "properties": _columns(config),
            "description": "What was not taken is null or left out.",
        },
    }
    return {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": properties,
                    "anyOf": [{"required": [name]} for name in (FILES, NOTE, RECORD)],
                },
                "encoding": {RECORD: {"contentType": "application/json"}},
            }
        },
    }


def _columns(config: CohortConfig) -> dict[str, Any]:
    """The columns of the record as JSON Schema."""
    properties: dict[str, Any] = {}
    for name, column in config.record.items():
        if isinstance(column, NumberColumn):
            bounds = {"minimum": column.low, "maximum": column.high}
            known = {key: bound for key, bound in bounds.items() if bound is not None}
            properties[name] = {"type": ["number", "null"], **known, "description": f"In '{column.unit}' (UCUM)."}
        else:
            properties[name] = {"enum": [*column.categories, None]}
        if column.taken:
            properties[column.taken] = {"type": ["string", "null"], "description": f"When {name} was taken (ISO 8601)."}
    return properties


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            MEDIA_TYPES[Format.FHIR]: {"schema": {"type": "object", "description": "A Bundle."}},
            MEDIA_TYPES[Format.SR]: {"schema": _BINARY},
        }
    },
    **documented(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
}
