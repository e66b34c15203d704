"""STOW-RS (PS3.18 10.5): objects to a DICOMweb server, as they lie on the disk, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import uuid4

import requests

from medmm.errors import CohortError
from medmm.read.sources.dicomweb import FAILED, Server, UnusableError, failure
from medmm.send.item import Item
from medmm.send.status import PROCESSING_FAILURE, SUCCESS, Answer, UnavailableError

_FAILED, _STORED = "00081198", "00081199"
"""Failed SOP Sequence, Referenced SOP Sequence."""
_UID, _WARNING, _FAILURE = "00081155", "00081196", "00081197"
"""Referenced SOP Instance UID, Warning Reason, Failure Reason."""
_NOT_NOW = {408, 425, 429, 502, 503, 504, 507}
_STUMBLED = 500
"""The server failed, at one of the objects or at all."""
_NOT_THESE = {400, 409, 413, 415, 422, _STUMBLED}
"""Statuses that speak of the objects; any other speaks of the server or of who asks."""


class DicomwebTarget(Server):
    """A DICOMweb server that takes objects, for as long as the `with` lasts; URL and credentials as of `Server`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.name = url.rstrip("/")

    def send(self, items: list[Item]) -> Iterator[Answer]:
        """Send objects of one study in one request, see Target.send; if all are turned down, each in its own."""
        status, told = self._asked(items)
        if told:
            yield from _answers(items, told, whole=status == requests.codes.ok)
        elif status not in _NOT_THESE:
            raise CohortError("the DICOMweb server does not say what it stored", "Check the URL of its services")
        elif len(items) > 1:
            for item in items:
                yield from self.send([item])
        else:
            yield Answer(items[0].uid, PROCESSING_FAILURE, stumbled=status == _STUMBLED)

    def _asked(self, items: list[Item]) -> tuple[int, dict[str, int]]:
        """Status of the answer, and what it says of each object.

        Raises:
            UnavailableError, CohortError: as Target.send.
        """
        try:
            response = self._posted(items)
            if response.status_code in _NOT_NOW:
                raise UnavailableError(f"answers {response.status_code}")
            if response.status_code not in _NOT_THESE:
                response.raise_for_status()
            return response.status_code, dict(_told(response))
        except UnusableError as problem:
            raise CohortError(f"the DICOMweb server {problem}", problem.remedy) from None
        except FAILED as thrown:
            away = requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError
            if isinstance(thrown, away) and not isinstance(thrown, requests.exceptions.SSLError):
                raise UnavailableError(f"does not answer ({type(thrown).__name__})") from None
            raise failure(thrown) from None

    def _posted(self, items: list[Item]) -> requests.Response:
        """Post objects as one multipart message (PS3.18 10.5.1); the client's own method would write them anew."""
        kind = f'multipart/related; type="application/dicom"; boundary="{uuid4().hex}"'
        body = self._client._encode_multipart_message([item.path.read_bytes() for item in items], kind)
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        return self._session.post(f"{self.name}/studies", body, headers=headers, timeout=self._client._timeout)


def _told(response: requests.Response) -> Iterator[tuple[str, int]]:
    """SOP Instance UID and status of each object that an answer speaks of (PS3.18 I.2, as DICOM JSON)."""
    if "json" not in response.headers.get("Content-Type", ""):
        return
    said = response.json()
    for dataset in said if isinstance(said, list) else [said]:
        for sequence, status, default in ((_STORED, _WARNING, SUCCESS), (_FAILED, _FAILURE, PROCESSING_FAILURE)):
            for item in dataset.get(sequence, {}).get("Value") or ():
                yield item[_UID]["Value"][0], int((item.get(status, {}).get("Value") or [default])[0])


def _answers(items: list[Item], told: Mapping[str, int], *, whole: bool) -> Iterator[Answer]:
    """One answer an object; one of which nothing is said is stored if the status is 200, and not known otherwise."""
    for item in items:
        if item.uid in told or whole:
            yield Answer(item.uid, told.get(item.uid, SUCCESS))
