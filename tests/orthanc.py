"""A real Orthanc on this machine alone, for tests of DICOMweb: its configuration, and the files that it holds."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.ports import free_port

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
"""Where Debian's orthanc-dicomweb puts it."""
USER, PASSWORD = "medmm", "canary-password"
TITLE = "ORTHANC"
_START_S = 60


@dataclass(frozen=True)
class Orthanc:
    """A server that is up."""

    port: int
    dicom_port: int
    """Where it takes C-STORE for the AE title TITLE, if it does."""

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

    def clear(self) -> None:
        """Delete all that it holds."""
        url = f"http://127.0.0.1:{self.port}/patients"
        for patient in requests.get(url, auth=(USER, PASSWORD), timeout=30).json():
            requests.delete(f"{url}/{patient}", auth=(USER, PASSWORD), timeout=30).raise_for_status()

    def instances(self) -> list[str]:
        """SOP Instance UIDs of all that it holds, once for each time that it holds it."""
        url = f"http://127.0.0.1:{self.port}/instances?expand"
        answer = requests.get(url, auth=(USER, PASSWORD), timeout=30)
        return sorted(one["MainDicomTags"]["SOPInstanceUID"] for one in answer.json())


@contextmanager
def running(folder: Path, port: int = 0, *, dicom: bool = False) -> Iterator[Orthanc]:
    """Start Orthanc with its files in a folder, on a port that answers this machine only; stop it in the end.

    With `dicom` it also takes C-STORE, from any machine: Orthanc cannot be told otherwise.
    """
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None or not PLUGIN.is_file():
        pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
    port, dicom_port = port or free_port(), free_port()
    configuration = {
        "Name": "medmm",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "DicomServerEnabled": dicom,
        "DicomAet": TITLE,
        "DicomPort": dicom_port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
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
        yield Orthanc(port, dicom_port)
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
