"""A real PostgreSQL on this machine alone, for tests of the store: thrown away in the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

_DEBIAN = Path("/usr/lib/postgresql")
"""Below it Debian has the programs of each version, which are not on the PATH."""


@contextmanager
def running() -> Iterator[str]:
    """Start a server that listens on a socket in a folder of its own, and nowhere else; yields its URL."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="medmm-pg-"))  # short: a socket's path has at most 107 letters
    try:
        _give_away(folder)
        data = str(folder / "data")
        _run([str(programs / "initdb"), "-D", data, "-U", "medmm", "-A", "trust", "--no-sync"])
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
        server = [str(programs / "pg_ctl"), "-D", data, "-l", str(folder / "log"), "-w"]
        _run([*server, "-o", options, "start"])
        try:
            yield f"postgresql+psycopg://medmm@/postgres?host={folder}"
        finally:
            _run([*server, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def database(server: str) -> Iterator[str]:
    """Make an empty schema on a running server, which is as good as a database and made at once; yields its URL."""
    from sqlalchemy import create_engine

    name = f"s{uuid4().hex}"
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    try:
        yield f"{server}&options=-csearch_path%3D{name}"
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")
        engine.dispose()


def _programs() -> Path:
    """Where the newest initdb and pg_ctl are."""
    found = [Path(path).parent for path in [shutil.which("pg_ctl")] if path]
    found += sorted((path.parent for path in _DEBIAN.glob("*/bin/pg_ctl")), key=lambda path: float(path.parent.name))
    if not found:
        pytest.fail("PostgreSQL is not installed: apt-get install postgresql")
    return found[-1]


def _give_away(folder: Path) -> None:
    """PostgreSQL does not run as root: hand its folder to the user that Debian makes for it."""
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")


def _run(command: Sequence[str]) -> None:
    """Run one of its programs, as another user if this one is root."""
    other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
    done = subprocess.run([*other, *command], capture_output=True, text=True, cwd="/", timeout=60)
    assert done.returncode == 0, done.stderr
