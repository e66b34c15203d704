"""Start the review screen on this machine, and on this machine only.

`review` stays in front until it is stopped; `start` leaves the screen running and returns its address.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import time
import webbrowser
from importlib.resources import files
from pathlib import Path

import typer

from medmm.errors import ConfigError, StoreError
from ui.folder import open_store

HOST = "127.0.0.1"
PORT = 8501
LOG = "review.log"
"""Where a screen that was left running writes what goes wrong with it, in the scored folder."""
_TRIES = 20
_READY_S = 60.0
_OPTIONS = {
    "server.address": HOST,
    "server.headless": "true",
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "browser.serverAddress": HOST,
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "client.toolbarMode": "minimal",
    "client.disableDataExport": "true",
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


def review(out: Path, port: int = PORT, browser: bool = True) -> int:
    """Show the screen until it is stopped with Ctrl+C; returns the exit code.

    Args:
        out: the folder that `medmm score` wrote.
        port: where to listen; the next free one is taken if it is busy.
        browser: whether to open the page in the user's browser.

    Raises:
        StoreError: if the folder is not a scored one, or the screen does not start.
        ConfigError: if no port is free.
    """
    open_store(out).close()
    port = free_port(port)
    process = subprocess.Popen(command(out, port), stdout=subprocess.DEVNULL)  # noqa: S603 - our own argv
    try:
        wait_until_ready(port, process)
        typer.echo(f"Review screen: {address(port)}  (Ctrl+C stops it)")
        if browser:
            webbrowser.open(address(port))
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        stop(process)


def start(out: Path, port: int = PORT) -> tuple[subprocess.Popen[bytes], str]:
    """Start the screen and leave it running; returns its process and its address. Raises as `review` does."""
    open_store(out).close()
    port = free_port(port)
    with (out / LOG).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own argv
            command(out, port), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until_ready(port, process)
    except BaseException:
        stop(process)
        raise
    return process, address(port)


def command(out: Path, port: int) -> list[str]:
    """What to run; options on the command line go before any configuration file of the user."""
    options = [f"--{name}={value}" for name, value in (_OPTIONS | {"server.port": str(port)}).items()]
    app = str(files("ui").joinpath("app.py"))
    options += [f"--server.allowedHosts={host}" for host in (HOST, "localhost")]
    return [sys.executable, "-m", "streamlit", "run", app, *options, "--", str(out.resolve())]


def address(port: int) -> str:
    """What to type into a browser."""
    return f"http://{HOST}:{port}"


def free_port(port: int) -> int:
    """The first port from this one on that nobody listens on.

    Raises:
        ConfigError: if there is none among the next 20.
    """
    for candidate in range(port, min(port + _TRIES, 65536)):
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, candidate))
            return candidate
    raise ConfigError(f"No port from {port} to {port + _TRIES - 1} is free", "Choose another one with --port")


def wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when the screen answers.

    Raises:
        StoreError: if the process ends before, or does not answer within a minute.
    """
    until = time.monotonic() + _READY_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(HOST, port, timeout=2)
            connection.request("GET", "/_stcore/health")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        time.sleep(0.1)
    raise StoreError("The review screen did not start", f"Read the lines above, or {LOG} in the scored folder")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the screen and wait for it."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
            return
        process.kill()
        process.wait()
