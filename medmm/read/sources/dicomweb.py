"""Studies from a DICOMweb server: QIDO-RS says what there is (PS3.18 10.6), WADO-RS gives it (PS3.18 10.4).

What comes is written as it came, byte for byte, under names that are digests; it is parsed later, in children, as any
other file. A patient's id reaches a URL only if it must: with a date, the studies of that date are asked for and the
ids compared here; without one it is sent, and only by https or to this machine. The server's own log then has it.

User and password, or a token, come from the environment (USER, PASSWORD, TOKEN below), never from the URL; certificates
are checked, against REQUESTS_CA_BUNDLE if that is set.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from dicomweb_client.web import DICOMwebClient
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.util import Retry

from medmm.config import CohortConfig
from medmm.errors import CohortError, ConfigError, DataError, Reason
from medmm.files import write_whole
from medmm.read.cohort import CaseRow, Cohort
from medmm.read.dicom.instance import has_preamble
from medmm.read.guard import MAX_BYTES
from medmm.read.pool import in_children
from medmm.read.sources.peek import read_headers
from medmm.read.sources.scan import hashed
from medmm.read.sources.source import Source

USER, PASSWORD, TOKEN = "MEDMM_DICOMWEB_USER", "MEDMM_DICOMWEB_PASSWORD", "MEDMM_DICOMWEB_TOKEN"
"""Environment variables."""
MAX_STUDIES = 100_000
"""Studies that one query may find."""
MAX_INSTANCES = 100_000
"""Objects of one study."""
_MAX_JSON_BYTES = 2**26
_PAGE = 500
_TIMEOUT_S = (10, 60)
"""To connect, and to wait for the next bytes."""
_TRIES = 3
COMPLETE = ".complete.json"
"""Beside the objects of a study that was retrieved whole."""
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""As it is stored: nothing is transcoded."""
_STUDY_UID, _SERIES_UID, _INSTANCE_UID = "0020000D", "0020000E", "00080018"
_AGAIN = "Run the same command again: what was retrieved is kept"
_Item = Mapping[str, Any]
"""One match as DICOM JSON (PS3.18 F.2)."""


@dataclass(frozen=True, slots=True)
class Match:
    """One study that the server has."""

    uid: str = field(repr=False)
    """Study Instance UID (0020,000D)."""
    patient_id: str = field(repr=False)
    date: str = field(repr=False)
    """Study Date (0008,0020): YYYYMMDD."""
    modalities: tuple[str, ...]
    instances: int | None
    """Number of Study Related Instances (0020,1208); None where the server does not say."""

    @property
    def case_id(self) -> str:
        """Stands for the study, the same every time, and tells nothing of it: its case id, and its folder's name."""
        return f"study-{hashed(self.uid)}"


class Server:
    """A DICOMweb server, for as long as the `with` lasts."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet.

        Args:
            url: where its services are, as https://pacs.example.org/dicom-web.

        Raises:
            ConfigError: if that is no such URL, holds a password, or a password would go over the net in clear.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigError("the server's URL is not understood", "Write it as https://pacs.example.org/dicom-web")
        if parts.username or parts.password:
            raise ConfigError("the server's URL holds a user or a password", f"Put them into {USER} and {PASSWORD}")
        self._private = parts.scheme == "https" or is_this_machine(parts.hostname)
        self._session = _session(self._private)
        self._client = _Client(url.rstrip("/"), session=self._session, callback=_limited, timeout=_TIMEOUT_S)
        self._client.set_http_retry_params(retry=False)  # the session does, also where a connection breaks
        self._levels: dict[str, int] = {}

    def __enter__(self) -> Self:
        for name in ("urllib3", "dicomweb_client"):  # they write URLs, with what is in them
            self._levels[name] = logging.getLogger(name).level
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, thrown: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)

    def find(self, *, patient: str = "", date: str = "", modality: str = "") -> list[Match]:
        """Find studies; all that is stated must hold.

        Args:
            patient: Patient ID (0010,0020), to the letter.
            date: Study Date, YYYYMMDD, or YYYYMMDD-YYYYMMDD with both ends.
            modality: one of Modalities in Study (0008,0061), as CR.

        Returns:
            each study once, in the order of date and UID.

        Raises:
            ConfigError: if nothing is stated, a date is none, or a patient's id would go over the net in clear.
            CohortError: if the server does not answer, or has more than MAX_STUDIES such studies.
        """
        _check_date(date)
        if not (patient or date or modality):
            raise ConfigError("nothing says which studies to retrieve", "Give a patient, a date or a modality")
        if patient and not date and not self._private:
            problem = "a patient's id would go over the net in clear"
            raise ConfigError(problem, "Use https, or give a date too: then the id is compared here and is not sent")
        filters = {"StudyDate": date, "ModalitiesInStudy": modality, "PatientID": "" if date else patient}
        filters = {name: value for name, value in filters.items() if value}
        fields = ["ModalitiesInStudy", "NumberOfStudyRelatedInstances", "PatientID", "StudyDate"]

        def ask(offset: int) -> Sequence[_Item]:
            return self._client.search_for_studies(limit=_PAGE, offset=offset, fields=fields, search_filters=filters)

        try:
            matches = [_match(item) for item in _all_pages(ask, _STUDY_UID, MAX_STUDIES)]
        except UnusableError as problem:
            raise CohortError(f"the DICOMweb server {problem}", problem.remedy) from None
        except FAILED as thrown:
            raise failure(thrown) from None
        wanted = (one for one in matches if patient in ("", one.patient_id) and _has(one, modality))
        return sorted(wanted, key=lambda one: (one.date, one.uid))

    def retrieve(self, study: Match, folder: Path) -> Path:
        """Fetch all objects of a study, those that are not there yet; a study that is whole is not asked for again.

        Args:
            study: from `find`.
            folder: gets a subfolder `<case id>` with a file `<SHA-256 of SOP Instance UID>.dcm` for each object.

        Returns:
            the subfolder.

        Raises:
            DataError: NOT_RETRIEVED if the server does not give all of it; what it gave is kept.
        """
        target = folder / study.case_id
        known = _complete(target)
        digest = hashlib.sha256(study.uid.encode()).hexdigest()
        if known and known["study"] == digest and known["instances"] == study.instances:
            return target
        try:
            self._fetch(study, target)
        except UnusableError as problem:
            raise DataError(study.case_id, Reason.NOT_RETRIEVED, f"the server {problem}", problem.remedy) from None
        except FAILED as thrown:
            raise DataError(study.case_id, Reason.NOT_RETRIEVED, failure(thrown).problem, _AGAIN) from None
        count = sum(1 for _ in target.glob("*.dcm"))
        content = json.dumps({"study": digest, "instances": count})
        write_whole(target / COMPLETE, lambda path: path.write_text(content, encoding="utf-8"))
        return target

    def _fetch(self, study: Match, target: Path) -> None:
        """Bring the folder to what the server lists: nothing is missing, and nothing of an earlier state is left."""
        _check_uids(study.uid)

        def ask(offset: int) -> Sequence[_Item]:
            fields = ["SeriesInstanceUID", "SOPInstanceUID"]
            return self._client.search_for_instances(study.uid, limit=_PAGE, offset=offset, fields=fields)

        listed = _all_pages(ask, _INSTANCE_UID, MAX_INSTANCES)
        if not listed or (study.instances is not None and study.instances != len(listed)):
            said = "" if study.instances is None else f" and says that there are {study.instances}"
            raise UnusableError(f"lists {len(listed)} objects of its study{said}", _AGAIN)
        names = set[str]()
        for item in listed:
            series, instance = _value(item, _SERIES_UID), _value(item, _INSTANCE_UID)
            _check_uids(series, instance)
            path = target / f"{hashlib.sha256(instance.encode()).hexdigest()}.dcm"
            names.add(path.name)
            if not path.is_file():
                content = self._client.instance(study.uid, series, instance)
                write_whole(path, lambda file, content=content: file.write_bytes(content))  # type: ignore[misc]
        for path in target.glob("*.dcm"):
            if path.name not in names:
                path.unlink()


def read_server(
    url: str,
    folder: Path,
    config: CohortConfig | None = None,
    *,
    patient: str = "",
    date: str = "",
    modality: str = "",
    wanted: Callable[[str], bool] = lambda uid: True,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int | None = None,
) -> Cohort:
    """Retrieve studies and make a cohort of them; one that the server does not give is a row that will be refused.

    Args:
        url: as Server.
        patient: as Server.find.
        date: as Server.find.
        modality: as Server.find.
        wanted: of a Study Instance UID, whether that study is retrieved; there may be none.
        folder: where the files go, and are found again by the same call.
        config: kept for the cohort; no label and no record is read.
        progress: told after each study: how many were retrieved, and how many there are.
        workers: processes that read headers; one a core if None.

    Raises:
        ConfigError, CohortError: as Server and Server.find; and if there is no such study.
    """
    with Server(url) as server:
        found = server.find(patient=patient, date=date, modality=modality)
        if not found:
            raise CohortError("the DICOMweb server has no such study", "Check patient, date and modality")
        part = [study for study in found if wanted(study.uid)]
        return retrieve_cohort(server, part, folder, config, progress, workers)


def retrieve_cohort(
    server: Server,
    found: Sequence[Match],
    folder: Path,
    config: CohortConfig | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int | None = None,
) -> Cohort:
    """Retrieve studies that were found, and make a cohort of them; otherwise as `read_server`."""
    refused: dict[str, tuple[Reason, str, str] | None] = {}
    for number, study in enumerate(found, start=1):
        try:
            server.retrieve(study, folder)
            refused[study.case_id] = None
        except DataError as problem:
            refused[study.case_id] = problem.code, problem.problem, problem.remedy
        progress(number, len(found))
    _check_given(folder, found, refused, workers)
    rows = tuple(CaseRow(name, "", Source(folder / name, refused=why)) for name, why in refused.items())
    remarks = (f"studies retrieved from the DICOMweb server: {sum(why is None for why in refused.values())}",)
    return Cohort(folder, config or CohortConfig(study="", note=""), rows, remarks)


def _check_given(
    folder: Path, found: Sequence[Match], refused: dict[str, tuple[Reason, str, str] | None], workers: int | None
) -> None:
    """Refuse what is whole by its count and yet another study than was asked for."""
    given = [study for study in found if refused[study.case_id] is None]
    members = ((study, tuple(path.name for path in (folder / study.case_id).glob("*.dcm"))) for study in given)
    jobs = ((study.case_id, ([Source(folder / study.case_id, names)],)) for study, names in members)
    answers = in_children(read_headers, jobs, workers)
    for study, (_, headers) in zip(given, answers, strict=True):
        if isinstance(headers, DataError):  # reading the study will say so
            continue
        if {header.study_uid for header in headers if header.kind == "object"} - {study.uid}:
            problem = "the server gave objects of another study than was asked for"
            refused[study.case_id] = Reason.NOT_RETRIEVED, problem, "Tell those who run the server"
            for path in (folder / study.case_id).glob("*.dcm"):  # so that it is asked for again
                path.unlink()


class UnusableError(Exception):
    """An answer that cannot be used: what the server did, in words."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


FAILED = (requests.RequestException, ValueError, TypeError, AttributeError, LookupError, RecursionError)
"""What requests throws, and what answers that are no DICOM JSON come to."""


class _Client(DICOMwebClient):
    """The client, with objects as bytes: its own methods parse them here and now, and would write them anew."""

    def instance(self, study: str, series: str, instance: str) -> bytes:
        """Retrieve one object as it is stored (PS3.18 10.4, application/dicom)."""
        url = f"{self.base_url}/studies/{study}/series/{series}/instances/{instance}"
        for left in range(_TRIES, 0, -1):
            try:
                return self._one_part(url)
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, requests.Timeout):
                if left == 1:  # the session tries again to connect, but not once bytes have come
                    raise
        raise AssertionError

    def _one_part(self, url: str) -> bytes:
        """Retrieve one object; of an answer that does not say how long it is, the last boundary must be there."""
        with self._http_get(url, headers={"Accept": _ACCEPT, "Accept-Encoding": "identity"}, stream=True) as response:
            if response.headers.get("Content-Type", "").startswith("application/dicom"):
                parts = [response.content]  # some servers send it without the envelope
            else:
                sized = any(name in response.headers for name in ("Content-Length", "Transfer-Encoding"))
                parts = list(self._decode_multipart_message(response, stream=sized))
                if not sized and not response.content.rstrip().endswith(b"--"):
                    raise requests.exceptions.ChunkedEncodingError
        if len(parts) != 1 or not has_preamble(parts[0]):
            raise UnusableError("gave something else than the DICOM object that was asked for", _AGAIN)
        return bytes(parts[0])


class _Bearer(AuthBase):
    """A token in place of user and password; as an AuthBase it is not overruled by a .netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _session(private: bool) -> requests.Session:
    """A session that tries again, follows no redirection, and has the credentials of the environment."""
    session = requests.Session()
    again = Retry(
        total=_TRIES, backoff_factor=0.3, status_forcelist=(429, 502, 503, 504), redirect=0, raise_on_status=False
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=again))
    session.max_redirects = 0
    user, password, token = (os.environ.get(name, "") for name in (USER, PASSWORD, TOKEN))
    if (user or token) and not private:
        raise ConfigError("a password or token would go over the net in clear", "Use https")
    if token:
        session.auth = _Bearer(token)
    elif user:
        session.auth = HTTPBasicAuth(user, password)
    return session


def is_this_machine(host: str) -> bool:
    """Whether a host is reached without a net: 127.0.0.1, ::1 or localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _limited(response: requests.Response, *args: Any, **kwargs: Any) -> requests.Response:
    """Let no answer be larger than it may, whatever it declares: a hook of requests, called before the body comes."""
    whole = response.iter_content
    most = MAX_BYTES if kwargs.get("stream") else _MAX_JSON_BYTES

    def within(chunk_size: int | None = 1) -> Iterator[bytes]:
        size = 0
        for chunk in whole(chunk_size):
            size += len(chunk)
            if size > most:
                raise UnusableError(f"sends more than {most >> 20} MiB at once", "Ask for less")
            yield chunk

    response.iter_content = within  # type: ignore[method-assign, assignment]
    return response


def _all_pages(ask: Callable[[int], Sequence[_Item]], key: str, most: int) -> list[_Item]:
    """Ask until nothing new comes: a server may give fewer at a time than it was asked for."""
    found: dict[str, _Item] = {}
    while page := ask(len(found)):
        new = {_value(item, key): item for item in page}
        if "" in new:
            raise UnusableError("gives an answer that names nothing", "Check the URL of its DICOMweb services")
        if not new.keys() - found.keys():
            if len(page) < _PAGE:  # a server that gives everything each time
                break
            raise UnusableError("gives the same again when it is asked for what follows", "Narrow the query")
        found |= new
        if len(found) > most:
            raise UnusableError(f"finds more than {most}", "Narrow the query")
    return list(found.values())


def _value(item: _Item, tag: str) -> str:
    """Return the first value of an attribute as text; '' for none."""
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0]).strip()


def _match(item: _Item) -> Match:
    count = _value(item, "00201208")
    return Match(
        uid=_value(item, _STUDY_UID),
        patient_id=_value(item, "00100020"),
        date=_value(item, "00080020"),
        modalities=tuple(str(one) for one in item.get("00080061", {}).get("Value") or ()),
        instances=int(count) if count.isdecimal() else None,
    )


def _has(study: Match, modality: str) -> bool:
    """Whether a study has a modality, or its server does not say."""
    return not modality or not study.modalities or modality in study.modalities


def _check_date(date: str) -> None:
    ends = date.split("-") if date else []
    try:
        days = [datetime.strptime(end, "%Y%m%d") for end in ends if re.fullmatch(r"\d{8}", end)]
    except ValueError:
        days = []
    if len(days) != len(ends) or len(days) > 2 or days != sorted(days):
        raise ConfigError("the date is none", "Write it as 20261124, or 20261101-20261124")


def _check_uids(*uids: str) -> None:
    """Refuse what is no UID (PS3.5 9.1) before it becomes a part of a URL."""
    if any(len(uid) > 64 or not re.fullmatch(r"\d+(\.\d+)*", uid, re.ASCII) for uid in uids):
        raise UnusableError("names it by a UID that is none", "Have it corrected on the server")


def _complete(folder: Path) -> dict[str, Any] | None:
    """Return what was written when the study was whole; None if it never was, or files are gone."""
    try:
        known = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        there = sum(1 for _ in folder.glob("*.dcm"))
        return dict(known) if known["instances"] == there and known["study"] else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def failure(thrown: BaseException) -> CohortError:
    """Say what a request came to, without its URL."""
    status = (
        thrown.response.status_code if isinstance(thrown, requests.HTTPError) and thrown.response is not None else 0
    )
    if status in (401, 403):
        return CohortError(f"the DICOMweb server refuses access ({status})", f"Set {USER} and {PASSWORD}, or {TOKEN}")
    if status:
        return CohortError(f"the DICOMweb server answers {status}", "Check the URL of its DICOMweb services")
    if isinstance(thrown, requests.exceptions.SSLError):
        return CohortError("the DICOMweb server's certificate is not trusted", "Set REQUESTS_CA_BUNDLE to its issuer's")
    if isinstance(thrown, requests.TooManyRedirects):
        return CohortError("the DICOMweb server sends elsewhere", "Give the URL that it sends to")
    if isinstance(thrown, requests.RequestException) and not isinstance(thrown, ValueError):
        return CohortError(
            f"the DICOMweb server does not answer ({type(thrown).__name__})", "Check the URL and the net"
        )
    return CohortError(f"the DICOMweb server's answer is not understood ({type(thrown).__name__})", "Check the URL")
