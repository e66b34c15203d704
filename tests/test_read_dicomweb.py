"""A server may be absent, slow, wrong or hostile: it costs a study or one clear line, and no id of a patient leaks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from medmm.errors import CohortError, ConfigError, DataError, Reason
from medmm.read.dicom.study import read_study
from medmm.read.sources import dicomweb
from medmm.read.sources.dicomweb import Match, Server, read_server
from medmm.read.sources.scan import hashed
from tests.dicom_files import CANARIES, ramp, write

UID = "1.2.826.1"
Answer = tuple[int, dict[str, str], bytes]


class Quiet(ThreadingHTTPServer):
    """Says nothing when its client has gone."""

    def handle_error(self, request: object, client_address: object) -> None:
        return


class Fake:
    """A server that answers what a test wants, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[str, dict[str, list[str]]], Answer] = lambda path, query: (404, {}, b"")
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                fake.asked.append(self.path)
                fake.headers.append(dict(self.headers))
                status, headers, body = fake.answer(parts.path, parse_qs(parts.query))
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/dicom-web"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    for name in (dicomweb.USER, dicomweb.PASSWORD, dicomweb.TOKEN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Fake()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()


def item(**values: Any) -> dict[str, Any]:
    """A match as DICOM JSON, by tag without its T."""
    return {
        tag[1:]: {"vr": "LO", "Value": value if isinstance(value, list) else [value]} for tag, value in values.items()
    }


def study(uid: str = UID, patient: str = "CANARYID", modality: str = "CR", count: int = 1) -> dict[str, Any]:
    return item(T0020000D=uid, T00100020=patient, T00080020="20260102", T00080061=[modality], T00201208=count)


def instance(uid: str) -> dict[str, Any]:
    return item(T0020000E=f"{UID}.1", T00080018=uid)


def as_json(items: object) -> Answer:
    return 200, {"Content-Type": "application/dicom+json"}, json.dumps(items).encode()


def as_part(content: bytes) -> Answer:
    body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--x--\r\n"
    return 200, {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}, body


def serve(
    fake: Fake, studies: list[dict[str, Any]], objects: dict[str, bytes], listed: list[str] | None = None
) -> None:
    """Answer as a server that has these studies, and these objects of one of them."""

    def answer(path: str, query: dict[str, list[str]]) -> Answer:
        start = int(query.get("offset", ["0"])[0])
        most = int(query.get("limit", ["1000"])[0])
        if path.endswith("/studies"):
            return as_json(studies[start:][:most])
        if path.count("/instances") and not path.endswith("/instances"):
            uid = path.rsplit("/", 1)[1]
            return as_part(objects[uid]) if uid in objects else (500, {}, b"CANARYNAME")
        return as_json([instance(uid) for uid in listed or objects][start:][:most])

    fake.answer = answer


@pytest.fixture
def objects(tmp_path: Path) -> dict[str, bytes]:
    """Three films of one study."""
    names = [f"{UID}.1.{number}" for number in range(3)]
    write_one = [
        write(
            tmp_path / "made" / name,
            ramp() + n,
            StudyInstanceUID=UID,
            SOPInstanceUID=name,
            SeriesInstanceUID=f"{UID}.1",
        )
        for n, name in enumerate(names)
    ]
    return {path.name: path.read_bytes() for path in write_one}


def match(uid: str = UID, instances: int | None = 3) -> Match:
    return Match(uid, "CANARYID", "20260102", ("CR",), instances)


def test_pages_are_asked_for_until_nothing_new_comes(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb, "_PAGE", 2)
    serve(fake, [study(f"{UID}.{n}") for n in range(5)], {})

    with Server(fake.url) as server:
        assert len(server.find(date="20260102")) == 5


def test_a_server_that_gives_everything_each_time_is_understood(fake: Fake) -> None:
    fake.answer = lambda path, query: as_json([study(f"{UID}.{n}") for n in range(5)])

    with Server(fake.url) as server:
        assert len(server.find(date="20260102")) == 5


def test_a_server_that_gives_no_second_page_is_told(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb, "_PAGE", 5)
    fake.answer = lambda path, query: as_json([study(f"{UID}.{n}") for n in range(5)])

    with Server(fake.url) as server, pytest.raises(CohortError, match="gives the same again"):
        server.find(date="20260102")


def test_with_a_date_the_patients_id_stays_here(fake: Fake) -> None:
    serve(fake, [study(UID), study(f"{UID}.2", patient="P2"), study(f"{UID}.3", modality="CT")], {})

    with Server(fake.url) as server:
        found = server.find(patient="CANARYID", date="20260101-20260131", modality="CR")

    assert [one.uid for one in found] == [UID]
    assert not any(canary in url for canary in CANARIES for url in fake.asked)


def test_what_only_begins_like_the_patients_id_is_not_the_patient(fake: Fake) -> None:
    serve(fake, [study(UID, patient="CANARYID2")], {})

    with Server(fake.url) as server:
        assert server.find(patient="CANARYID") == []


def test_a_patients_id_goes_over_the_net_by_https_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(dicomweb.USER, raising=False)

    with (
        Server("http://pacs.example.org/dicom-web") as server,
        pytest.raises(ConfigError, match=r"a patient's id would go over the net in clear\. Use https, or give a date"),
    ):
        server.find(patient="CANARYID")


@pytest.mark.parametrize("name", [dicomweb.USER, dicomweb.TOKEN])
def test_a_password_goes_over_the_net_by_https_only(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "CANARYNAME")

    with pytest.raises(ConfigError, match="would go over the net in clear"):
        Server("http://pacs.example.org/dicom-web")
    Server("https://pacs.example.org/dicom-web")
    Server("http://localhost:8042/dicom-web")


def test_a_token_is_sent_as_such(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dicomweb.TOKEN, "abc")
    serve(fake, [], {})

    with Server(fake.url) as server:
        server.find(modality="CR")

    assert fake.headers[0]["Authorization"] == "Bearer abc"


@pytest.mark.parametrize(
    "url",
    [
        "pacs.example.org",
        "ftp://pacs.example.org",
        "https://",
        "https://u:CANARYNAME@pacs.example.org",
        "https://a/?x=1",
    ],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Server(url)

    assert not any(canary in str(caught.value) for canary in CANARIES)


@pytest.mark.parametrize("date", ["2026", "20261301", "20260102-", "20260201-20260101", "CANARYNAME", "2026-01-02"])
def test_a_date_that_is_none_is_refused(fake: Fake, date: str) -> None:
    with Server(fake.url) as server, pytest.raises(ConfigError, match="the date is none"):
        server.find(date=date)
    assert fake.asked == []


def test_nothing_is_asked_for_without_a_question(fake: Fake) -> None:
    with Server(fake.url) as server, pytest.raises(ConfigError, match="nothing says which studies"):
        server.find()


WRONG: dict[str, Answer] = {
    "no json": (200, {"Content-Type": "application/json"}, b"<html>CANARYNAME</html>"),
    "another json": as_json({"CANARYNAME": 1}),
    "a list of words": as_json(["CANARYNAME"]),
    "nested beyond reason": (200, {"Content-Type": "application/json"}, b"[" * 100_000),
    "elsewhere": (302, {"Location": "http://127.0.0.1:9/CANARYNAME"}, b""),
    "an error": (500, {}, b"CANARYNAME"),
    "no access": (403, {}, b"CANARYNAME"),
}


@pytest.mark.parametrize("how", WRONG)
def test_an_answer_that_is_none_is_one_line(
    fake: Fake, how: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.answer = lambda path, query: WRONG[how]

    with Server(fake.url) as server, pytest.raises(CohortError, match="the DICOMweb server") as caught:
        server.find(patient="CANARYID")

    told = str(caught.value)
    assert "\n" not in told
    assert not any(canary in told + caplog.text + "".join(capfd.readouterr()) for canary in CANARIES)
    assert caught.value.__cause__ is None
    assert len(fake.asked) == 1


def test_an_absent_server_is_one_line(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    with Server("http://127.0.0.1:9/x") as server, pytest.raises(CohortError, match="does not answer") as caught:
        server.find(patient="CANARYID")

    assert "Check the URL and the net" in str(caught.value)
    assert not any(canary in str(caught.value) + caplog.text for canary in CANARIES)


def test_a_busy_server_is_asked_again(fake: Fake) -> None:
    answers = iter([(503, {}, b""), (503, {}, b""), as_json([study()]), as_json([])])
    fake.answer = lambda path, query: next(answers)

    with Server(fake.url) as server:
        assert len(server.find(modality="CR")) == 1


def test_an_answer_larger_than_it_may_be_is_not_read(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb, "_MAX_JSON_BYTES", 2**21)
    fake.answer = lambda path, query: (200, {"Content-Type": "application/json"}, b" " * 2**22)

    with Server(fake.url) as server, pytest.raises(CohortError, match="sends more than 2 MiB at once"):
        server.find(modality="CR")


def test_a_study_is_written_as_it_came(fake: Fake, objects: dict[str, bytes], tmp_path: Path) -> None:
    serve(fake, [], objects)

    with Server(fake.url) as server:
        where = server.retrieve(match(), tmp_path / "out")

    assert sorted(path.read_bytes() for path in where.glob("*.dcm")) == sorted(objects.values())
    assert len(read_study(where, "c1").images) == 3


def test_a_study_of_which_an_object_does_not_come_is_refused_and_goes_on_later(
    fake: Fake, objects: dict[str, bytes], tmp_path: Path
) -> None:
    (last, content) = objects.popitem()
    serve(fake, [], objects, listed=[*objects, last])
    with Server(fake.url) as server, pytest.raises(DataError, match="answers 500") as caught:
        server.retrieve(match(), tmp_path / "out")
    before = len(fake.asked)

    serve(fake, [], {last: content}, listed=[*objects, last])
    with Server(fake.url) as server:
        where = server.retrieve(match(), tmp_path / "out")

    assert caught.value.code == Reason.NOT_RETRIEVED
    assert len(list(where.glob("*.dcm"))) == 3
    assert sum("/instances/" in url for url in fake.asked[before:]) == 1


@pytest.mark.parametrize("instances", [2, 4])
def test_a_study_that_is_listed_in_part_is_refused(
    fake: Fake, objects: dict[str, bytes], tmp_path: Path, instances: int
) -> None:
    serve(fake, [], objects)

    with Server(fake.url) as server, pytest.raises(DataError, match=f"lists 3 .* says that there are {instances}"):
        server.retrieve(match(instances=instances), tmp_path / "out")


@pytest.mark.parametrize("uid", ["../../x", "..", "1.2/../../x", "", "1." * 40, "CANARYNAME"])
def test_a_uid_that_is_none_becomes_no_path_and_no_url(fake: Fake, tmp_path: Path, uid: str) -> None:
    serve(fake, [], {}, listed=[uid])
    with Server(fake.url) as server:
        for study in (match(uid, None), match(UID, 1)):
            with pytest.raises(DataError, match=r"by a UID that is none|names nothing") as caught:
                server.retrieve(study, tmp_path / "out")
            assert not any(canary in str(caught.value) for canary in CANARIES)

    assert not any("CANARYNAME" in url or ".." in url for url in fake.asked)
    assert [path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")] in ([], ["out"])


@pytest.mark.parametrize("content", [b"CANARYNAME" * 50, b""])
def test_what_is_no_dicom_is_not_kept(fake: Fake, tmp_path: Path, content: bytes) -> None:
    serve(fake, [], {f"{UID}.1.0": content})

    with Server(fake.url) as server, pytest.raises(DataError, match="something else than the DICOM object"):
        server.retrieve(match(instances=1), tmp_path / "out")

    assert list((tmp_path / "out").rglob("*.dcm")) == []


def test_a_study_that_lost_an_object_on_the_server_loses_it_here(
    fake: Fake, objects: dict[str, bytes], tmp_path: Path
) -> None:
    serve(fake, [], objects)
    with Server(fake.url) as server:
        server.retrieve(match(), tmp_path / "out")
        objects.popitem()
        where = server.retrieve(match(instances=2), tmp_path / "out")

    assert len(list(where.glob("*.dcm"))) == 2


def test_objects_of_another_study_are_refused(fake: Fake, objects: dict[str, bytes], tmp_path: Path) -> None:
    serve(fake, [study("1.2.826.77", count=3)], objects)

    (row,) = read_server(fake.url, tmp_path / "out", modality="CR", workers=1).rows

    assert row.study is not None
    with pytest.raises(DataError, match="gave objects of another study than was asked for") as caught:
        read_study(row.study, row.case_id)
    assert caught.value.code == Reason.NOT_RETRIEVED
    assert not list((tmp_path / "out").rglob("*.dcm"))  # so that they are asked for again


def test_a_study_that_is_not_given_is_a_row_that_says_so(fake: Fake, objects: dict[str, bytes], tmp_path: Path) -> None:
    serve(fake, [study(count=3)], {}, listed=list(objects))

    (row,) = read_server(fake.url, tmp_path / "out", modality="CR", workers=1).rows

    assert row.study is not None
    with pytest.raises(DataError, match=f"case study-{hashed(UID)}: the DICOMweb server answers 500"):
        read_study(row.study, row.case_id)


def test_an_answer_without_a_length_that_ends_too_early_is_no_object(
    fake: Fake, objects: dict[str, bytes], tmp_path: Path
) -> None:
    serve(fake, [study()], objects)
    whole = fake.answer

    def cut(path: str, query: dict[str, list[str]]) -> Answer:
        status, headers, body = whole(path, query)
        if "multipart" not in headers["Content-Type"]:
            return status, headers, body
        return status, headers | {"Content-Length": "", "Connection": "close"}, body[:-40]

    fake.answer = cut
    with Server(fake.url) as server, pytest.raises(DataError) as refused:
        server.retrieve(match(), tmp_path / "got")

    assert refused.value.code == Reason.NOT_RETRIEVED
    assert not list((tmp_path / "got").rglob("*.dcm"))
