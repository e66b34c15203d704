"""The HTTP service: a case in by POST /v1/predictions, several by POST /v1/bundles, findings out; health beside it.

A request passes, in this order: its token, a free place, the limits of its body, the reader, the model. Whoever is
turned away is turned away before anything of the body is read.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import shutil
from collections.abc import Mapping, Sequence
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
from starlette.requests import ClientDisconnect

from medmm.errors import DataError
from medmm.result import Refusal, ScoredCase
from medmm.serve import openapi, problem
from medmm.serve.answer import Answer, BundleAnswer, answer_of, bundle_answer_of
from medmm.serve.engine import Engine
from medmm.serve.problem import RequestError, documented
from medmm.serve.upload import FILES, Limits, receive, row_of
from medmm.serve.watch import Metrics, Watch, id_of
from medmm.write.dicom.report import report_of
from medmm.write.dicom.study import write_dicom
from medmm.write.fhir import Release, batch_of, bundle_of
from medmm.write.tables import write_quarantine


class Format(StrEnum):
    """How an answer is written."""

    JSON = "json"
    FHIR = "fhir"
    SR = "sr"


MEDIA_TYPES = {Format.JSON: "application/json", Format.FHIR: "application/fhir+json", Format.SR: "application/dicom"}
BUNDLE_TYPES = {**MEDIA_TYPES, Format.SR: "application/zip"}

Explain = Annotated[bool, Query(description="JSON: maps, words and record values with each finding.")]
Wanted = Annotated[
    Format | None, Query(alias="format", description="Instead of the header Accept; json if neither says.")
]
Wished = Annotated[Release, Query(description="FHIR: which one.")]

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
        description="Calibrated, explained findings of a case. Decision support for research, not a medical device.",
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
        openapi_extra={"requestBody": openapi.case_form(engine.config)},
        responses=openapi.answers("A Bundle.", MEDIA_TYPES[Format.SR]),
    )
    async def predict(
        request: Request, explain: Explain = False, wanted: Wanted = None, release: Wished = "R4"
    ) -> Response:
        """Score one case: the images of one study, its note, its record, and what else belongs to it."""
        chosen = wanted or _accepted(request.headers, MEDIA_TYPES)
        with engine.place(), _room(spool) as name:
            folder = Path(name)
            await receive(request.stream(), request.headers, folder, limits)
            scored = await engine.score(row_of(folder, id_of(request), engine.config), explained=explain)
            written = await asyncio.to_thread(_written, scored, chosen, explain, release, folder)
        return Response(written, media_type=MEDIA_TYPES[chosen])

    @app.post(
        "/v1/bundles",
        tags=["predictions"],
        dependencies=guarded,
        response_model=BundleAnswer,
        openapi_extra={"requestBody": openapi.bundle_form(limits.cases)},
        responses=openapi.answers("A Bundle of type batch-response.", BUNDLE_TYPES[Format.SR]),
    )
    async def predict_bundle(
        request: Request, explain: Explain = False, wanted: Wanted = None, release: Wished = "R4"
    ) -> Response:
        """Score several cases, one after another; one that cannot be read has its reason for an answer."""
        chosen = wanted or _accepted(request.headers, BUNDLE_TYPES)
        with engine.place(), _room(spool) as name:
            folder = Path(name)
            await receive(request.stream(), request.headers, folder, limits, (FILES,))
            cohort = await engine.read_bundle(folder, limits.cases)
            answers: list[ScoredCase | Refusal] = []
            for row in cohort.rows:
                if await request.is_disconnected():
                    raise ClientDisconnect
                try:
                    answers.append(await engine.score(row, explained=explain))
                except DataError as refused:
                    answers.append(Refusal.of(refused))
            if chosen is Format.JSON:
                told = bundle_answer_of(id_of(request), answers, cohort.remarks, explain)
                written = told.model_dump_json().encode()
            else:
                written = await asyncio.to_thread(_written_together, answers, chosen, release, folder)
        return Response(written, media_type=BUNDLE_TYPES[chosen])

    return app


def _room(spool: Path) -> TemporaryDirectory[str]:
    """A folder for one upload; the spool itself may have been cleaned away while nobody asked."""
    spool.mkdir(mode=0o700, exist_ok=True)
    return TemporaryDirectory(dir=spool)


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


def _written_together(answers: Sequence[ScoredCase | Refusal], chosen: Format, release: Release, folder: Path) -> bytes:
    """Write the answers of a bundle as one FHIR Bundle, or as a zip archive of DICOM SR and quarantine.csv."""
    now = datetime.now(UTC)
    if chosen is Format.FHIR:
        return json.dumps(batch_of(answers, now, release)).encode()
    refused = [one for one in answers if isinstance(one, Refusal)]
    reports = folder / "reports"
    for number, one in enumerate(answers):
        if isinstance(one, ScoredCase):
            try:
                write_dicom(reports / f"{number:06}.dcm", report_of(one, now))
            except DataError as problem:
                refused.append(Refusal.of(problem))
    write_quarantine(reports, refused)
    return Path(shutil.make_archive(str(reports), "zip", reports)).read_bytes()


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


def _accepted(headers: Mapping[str, str], media_types: Mapping[Format, str]) -> Format:
    """The format that a client likes best (RFC 9110 12.5.1).

    Raises:
        RequestError: 406 if it likes none of them.
    """
    kinds = {media_types[one]: one for one in reversed(Format)}  # of equals the last one is taken
    try:
        best = mimeparse.best_match(list(kinds), headers.get("accept") or "*/*")
    except mimeparse.MimeTypeParseException:
        best = ""
    if not best:
        given = ", ".join(media_types.values())
        raise RequestError(
            HTTPStatus.NOT_ACCEPTABLE, "not-acceptable", "no format is acceptable", f"Accept one of {given}"
        )
    return kinds[best]
