"""Start the review screen: for this machine only, or with a login for others too.

`review` stays in front until it is stopped; `start` leaves the screen running and returns its address.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
import webbrowser
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import typer

from medmm.config import read_toml
from medmm.errors import ConfigError, StoreError
from ui.access import Auth
from ui.folder import STORE_URL, open_store

HOST = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104  # a host that stands for every network of this machine
PORT = 8501
LOG = "review.log"
"""Where a screen that was left running writes what goes wrong with it, in the scored folder."""
_NO_SECRETS = files("ui").joinpath("none.toml")
"""A file that is not there: without an AUTH file the secrets of the user's other screens are not ours to read."""
_TRIES = 20
_READY_S = 60.0
_OPTIONS = {
    "server.headless": "true",
    "server.enableAgentApi": "false",
    "server.trustedUserHeaders": "{}",
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "client.toolbarMode": "minimal",
    "client.disableDataExport": "true",
    "runner.fastReruns": "false",  # else a press that comes before the one before it was heard takes its place
    "runner.magicEnabled": "false",
    "logger.level": "warning",
    "theme.light.primaryColor": "#14706d",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f2f5f5",
    "theme.light.textColor": "#1d2526",
    "theme.dark.primaryColor": "#1b807c",
    "theme.dark.backgroundColor": "#121617",
    "theme.dark.secondaryBackgroundColor": "#1e2526",
    "theme.dark.textColor": "#e6ecec",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the screen listens, who may come in, and where its store is."""

    host: str = HOST
    auth: Path | None = None
    """An AUTH file, see `ui.access`; None for this machine alone."""
    store: str | None = field(default=None, repr=False)
    """URL of a database, which may hold a password; None for the store in the folder."""


_HERE = Place()


def review(out: Path, port: int = PORT, browser: bool = True, place: Place = _HERE) -> int:
    """Show the screen until it is stopped with Ctrl+C; returns the exit code.

    Args:
        out: the folder that `medmm score` wrote.
        port: where to listen; without a login the next free one is taken if it is busy.
        browser: whether to open the page in the user's browser.
        place: for whom, and with which store.

    Raises:
        StoreError: if nothing was scored there, or the screen does not start.
        ConfigError: if no port is free, the AUTH file is wrong, or others could reach the screen without one.
    """
    port, auth = _ready(out, port, place)
    process = subprocess.Popen(  # noqa: S603 - our own argv
        command(out, port, place, auth), stdout=subprocess.DEVNULL, env=_environment(place)
    )
    try:
        wait_until_ready(port, process, place.host)
        typer.echo(f"Review screen: {address(port, auth)}  (Ctrl+C stops it)")
        if browser:
            webbrowser.open(address(port, auth))
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        stop(process)


def start(out: Path, port: int = PORT, place: Place = _HERE) -> tuple[subprocess.Popen[bytes], str]:
    """Start the screen and leave it running; returns its process and its address. Raises as `review` does."""
    port, auth = _ready(out, port, place)
    with (out / LOG).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own argv
            command(out, port, place, auth),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=_environment(place),
        )
    try:
        wait_until_ready(port, process, place.host)
    except BaseException:
        stop(process)
        raise
    return process, address(port, auth)


def _ready(out: Path, port: int, place: Place) -> tuple[int, Auth | None]:
    """Check everything before anything starts; returns the port to listen on, and what the AUTH file says."""
    from medmm.read.sources.dicomweb import is_this_machine

    if place.auth is None and not is_this_machine(place.host):
        raise ConfigError(
            "without a login the review screen listens on 127.0.0.1 only", "Give --auth FILE, or leave --host out"
        )
    auth = read_toml(place.auth, Auth) if place.auth else None
    if auth is not None and find_spec("authlib") is None:
        raise ConfigError("a login needs Authlib, which is not installed", "pip install 'medmm[login]'")
    open_store(out, place.store).close()
    return free_port(port, place.host, tries=1 if auth else _TRIES), auth


def command(out: Path, port: int, place: Place = _HERE, auth: Auth | None = None) -> list[str]:
    """What to run; options on the command line go before any configuration file of the user.

    The URL of a store is not in it, since everybody on the machine may read what processes were started with.
    """
    known_as = [auth.host] if auth else [HOST, "localhost"]
    options = _OPTIONS | {
        "server.address": place.host,
        "server.port": str(port),
        "browser.serverAddress": known_as[0],
        "secrets.files": str(place.auth.resolve() if place.auth else _NO_SECRETS),
    }
    said = [f"--{name}={value}" for name, value in options.items()]
    said += [f"--server.allowedHosts={host}" for host in known_as]
    arguments = [str(path.resolve()) for path in (out, place.auth) if path]
    return [sys.executable, "-m", "ui", "run", str(files("ui").joinpath("app.py")), *said, "--", *arguments]


def _environment(place: Place) -> dict[str, str]:
    """The environment of the screen: ours, and which store it opens."""
    return dict(os.environ) | ({STORE_URL: place.store} if place.store else {})


def address(port: int, auth: Auth | None = None) -> str:
    """What to type into a browser."""
    return auth.address if auth else f"http://{HOST}:{port}"


def free_port(port: int, host: str = HOST, tries: int = _TRIES) -> int:
    """The first port from this one on that nobody listens on.

    Raises:
        ConfigError: if there is none among so many.
    """
    for candidate in range(port, min(port + tries, 65536)):
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, candidate))
            return candidate
    which = f"No port from {port} to {port + tries - 1} is free" if tries > 1 else f"Port {port} cannot be listened on"
    raise ConfigError(which, "Choose another one with --port")


def wait_until_ready(port: int, process: subprocess.Popen[bytes], host: str = HOST) -> None:
    """Return when the screen answers, and not another one that took the port a moment before.

    Raises:
        StoreError: if the process ends before, or does not answer within a minute.
    """
    until = time.monotonic() + _READY_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException, psutil.NoSuchProcess):
            if _listens(psutil.Process(process.pid), port) and _is_well(HOST if host == EVERYWHERE else host, port):
                return
        time.sleep(0.1)
    raise StoreError("The review screen did not start", f"Read the lines above, or {LOG} in the scored folder")


def _is_well(host: str, port: int) -> bool:
    """Whether a screen answers there that all is well with it."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    with contextlib.closing(connection):
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == http.HTTPStatus.OK


def _listens(process: psutil.Process, port: int) -> bool:
    """Whether a process, or what it started, listens on a port."""
    family = [process, *process.children(recursive=True)]
    sockets = [one for member in family for one in member.net_connections("tcp") if one.laddr]
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in sockets)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the screen and wait for it."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
            return
        process.kill()
        process.wait()
