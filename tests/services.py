"""Services that listen, in this process, for tests of what they answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from medmm.model.folder import Model
from medmm.serve.app import create_app
from medmm.serve.engine import Engine
from medmm.serve.upload import Limits

TOKEN = "correct-horse-battery-staple"
UPLOAD = 2**22
"""Bytes that one request may bring."""
CASES = 6
"""Studies that one bundle may bring."""


@dataclass(frozen=True)
class Address:
    """Where a service listens."""

    url: str

    def client(self, token: str = TOKEN) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def ask(self, files: Any = None, token: str = TOKEN, to: str = "predictions", **parameters: Any) -> httpx.Response:
        with self.client(token) as client:
            return client.post(f"/v1/{to}", files=files, params=parameters)


@dataclass(frozen=True)
class Service(Address):
    """A service that listens, in this process."""

    engine: Engine
    spool: Path


@contextmanager
def serving(model: Model, spool: Path, waiting: int = 64) -> Iterator[Service]:
    spool.mkdir()
    with Engine(model, waiting=waiting, workers=1, memory_bytes=2**29) as engine:
        app = create_app(engine, spool, TOKEN, Limits(upload_bytes=UPLOAD, cases=CASES))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield Service(f"http://127.0.0.1:{port}", engine, spool)
        finally:
            server.should_exit = True
            thread.join()
