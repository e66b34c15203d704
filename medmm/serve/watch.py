"""Around every request: its id, one line in the log, what Prometheus counts, and an answer to what nobody foresaw.

A line of the log holds the id, the method, the route as it is written in the API, the status and the seconds: no path
as it was sent, no address, and no text of an error.
"""

from __future__ import annotations

import logging
import time
from uuid import uuid4

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medmm.serve import problem
from medmm.serve.engine import Engine

logger = logging.getLogger(__name__)

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_GONE = 499
"""What nginx calls a client that went away."""


class Metrics:
    """What is counted, in a registry of its own."""

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("medmm_requests", "Requests answered.", ("route", "status"), registry=self.registry)
        told = "From the first byte in to the last byte out."
        self.seconds = Histogram("medmm_request_seconds", told, ("route",), buckets=_SECONDS, registry=self.registry)
        admitted = Gauge("medmm_admitted_requests", "Requests that are served or wait.", registry=self.registry)
        admitted.set_function(lambda: engine.admitted)
        places = Gauge("medmm_places", "Requests that may be served or wait at a time.", registry=self.registry)
        places.set(engine.waiting)
        model = Gauge("medmm_model", "1 for the model that answers.", ("model_id",), registry=self.registry)
        model.labels(engine.model.model_id).set(1)


class Watch:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and watch what comes of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        began, status = time.monotonic(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except ClientDisconnect:
            status = status or _GONE
        except Exception as thrown:
            logger.error("%s failed: %s", request_id, _where(thrown))  # a traceback quotes values
            if not status:
                await problem.answer(problem.internal(), request_id)(scope, receive, sent)
        route = getattr(scope.get("route"), "path", "other")
        seconds = time.monotonic() - began
        self._metrics.requests.labels(route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        logger.info("%s %s %s %d %.3f s", request_id, scope["method"], route, status, seconds)


def id_of(request: Request) -> str:
    """The id of a request that came through `Watch`."""
    return str(request.state.request_id)


def _where(thrown: BaseException) -> str:
    """The class of what was thrown and the line that threw it: its text may quote what was sent."""
    trace = thrown.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{type(thrown).__name__}{place}"
