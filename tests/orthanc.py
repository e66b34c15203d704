"""A real Orthanc on this machine alone, for tests of DICOMweb: its configuration, and the files that it holds."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
"""Where Debian's orthanc-dicomweb puts it."""
USER, PASSWORD = "medmm", "canary-password"
_START_S = 60


@dataclass(frozen=True)
class Orthanc:
    """A server that is up."""

    port: int

    @property
    def url(self) -> str:
        """Of its DICOMweb services."""
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def put(self, *files: Path) -> None:
        """Store files as they are."""
        for file in files:
            answer = requests.post(
                f"http://127.0.0.1:{self.port}/instances",
                data=file.read_bytes(),
                auth=(USER, PASSWORD),
                timeout=30,
            )
            answer.raise_for_status()


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    """Start Orthanc with its files in a folder, on a free port that answers this machine only; stop it in the end."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None or not PLUGIN.is_file():
        pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    configuration = {
        "Name": "medmm",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "DicomServerEnabled": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, str(path)], stdout=log, stderr=log)
    try:
        _wait(port, process)
        yield Orthanc(port)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        assert process.poll() is None, "Orthanc ended as it was started"
        try:
            if requests.get(f"http://127.0.0.1:{port}/system", auth=(USER, PASSWORD), timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.2)
    raise AssertionError("Orthanc does not answer")
