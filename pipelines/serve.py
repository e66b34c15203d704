"""Serve a trained model over HTTP until it is told to stop.

MEDMM_SERVE_TOKEN=... medmm serve RUN --host 0.0.0.0 --certificate cert.pem --key key.pem
curl -H "Authorization: Bearer $MEDMM_SERVE_TOKEN" -F files=@study.zip -F note=@note.txt https://host:8000/v1/predictions
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from medmm.errors import ConfigError
from medmm.read.sources.dicomweb import is_this_machine
from pipelines import terminal

TOKEN = "MEDMM_SERVE_TOKEN"  # noqa: S105  # the name of an environment variable
"""Environment variable with the token that clients must bear."""
_SHORTEST = 16
_STOP_S = 60
"""Seconds that requests have to end when the service is told to stop."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the service listens."""

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    key: Path | None = None


def serve_model(
    model: Path, place: Place, *, waiting: int = 16, upload_mib: int = 1024, workers: int | None = None
) -> None:
    """Load a model, listen, and answer until SIGINT or SIGTERM; requests that are being served are finished.

    Args:
        model: the run that `medmm train` wrote, or its model folder.
        place: where to listen.
        waiting: requests that are served or wait at a time; those beyond are answered 503.
        upload_mib: what one request may bring.
        workers: processes that read studies; one a core if None.

    Raises:
        ConfigError: if it would listen beyond this machine without a token, cannot listen, or cannot use the
            certificate.
        ModelError: as Model.load.
    """
    token = _token(place)
    _check_certificate(place)
    with _listening(place) as listener:
        import uvicorn

        from medmm.serve.app import create_app
        from medmm.serve.engine import Engine
        from medmm.serve.upload import Limits
        from pipelines.score import load

        _log_only_ours()
        with Engine(load(model), waiting=waiting, workers=workers) as engine, _Spool(place) as spool:
            app = create_app(engine, spool.folder, token, Limits(upload_bytes=upload_mib * 2**20))
            config = uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                timeout_graceful_shutdown=_STOP_S,
                ssl_certfile=place.certificate,
                ssl_keyfile=place.key,
            )
            _announce(place, token, engine.model.model_id)
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn gives it on when it has stopped
            with suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listener])


def _token(place: Place) -> str:
    """The token of the environment.

    Raises:
        ConfigError: if it can be guessed, or is missing where others than this machine can ask.
    """
    token = os.environ.get(TOKEN, "")
    if token and len(token) < _SHORTEST:
        raise ConfigError(f"{TOKEN} has fewer than {_SHORTEST} characters", "Make a longer one: openssl rand -hex 32")
    if not token and not is_this_machine(place.host):
        raise ConfigError("without a token the service listens on 127.0.0.1 only", f"Set {TOKEN}, or leave --host out")
    return token


def _check_certificate(place: Place) -> None:
    """Look at the certificate before a model is loaded in vain.

    Raises:
        ConfigError: if it lacks its key, or the two cannot be used.
    """
    if (place.certificate is None) != (place.key is None):
        raise ConfigError("a certificate and its key belong together", "Give both --certificate and --key")
    if place.certificate is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(place.certificate, place.key, lambda: "")
    except OSError as problem:  # SSLError is one
        reason = type(problem).__name__
        remedy = "Give two PEM files that belong together, the key without a password"
        raise ConfigError(f"the certificate or its key cannot be used ({reason})", remedy) from None


def _listening(place: Place) -> socket.socket:
    """A socket that listens, before a model is loaded in vain."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # until then another process could take the same port
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
        raise ConfigError(f"cannot listen on port {place.port} ({reason})", "Choose another --host or --port") from None
    return listener


class _Spool:
    """A folder for uploads that only this user can read; what a killed service left there goes first."""

    def __init__(self, place: Place) -> None:
        self.folder = Path(gettempdir(), f"medmm-serve-{place.host}-{place.port}")

    def __enter__(self) -> _Spool:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        return self

    def __exit__(self, *ended: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _log_only_ours() -> None:
    """Send the lines of the service and of uvicorn to standard error; other libraries might quote what they read."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("medmm", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
    logging.getLogger().addHandler(logging.NullHandler())


def _announce(place: Place, token: str, model_id: str) -> None:
    scheme = "https" if place.certificate else "http"
    terminal.console.print(f"Model {model_id} on {scheme}://{place.host}:{place.port}  (Ctrl+C stops it)")
    if not token:
        terminal.console.print(f"Note: {TOKEN} is not set: any user of this machine may ask, and nobody else")
    elif not place.certificate and not is_this_machine(place.host):
        terminal.console.print("Note: without --certificate studies and the token travel in clear")
