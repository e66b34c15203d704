"""Ports for the servers that tests start."""

from __future__ import annotations

import socket
from contextlib import closing


def free_port() -> int:
    """A port that nobody listens on, another one in each test process."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
