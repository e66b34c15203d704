"""What the service promises: right answers at once or a plain refusal, and nobody's data where they do not belong."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import PIL.Image
import pytest
from fhir.resources.R4B.bundle import Bundle
from prometheus_client.parser import text_string_to_metric_families as parse
from pydicom import dcmread
from typer.testing import CliRunner

from medmm.config import EncoderConfig, RunConfig
from medmm.errors import ConfigError
from medmm.explain.contribution import predict
from medmm.model.folder import Model
from medmm.read.cohort import CaseRow, Cohort, read_case
from medmm.read.sources.source import Source
from pipelines import cli, serve
from tests.dicom_files import BROKEN, CANARIES, ramp, write
from tests.models import LABELS, fusion, random_model
from tests.ports import free_port
from tests.services import CASES, TOKEN, UPLOAD, Address, Service, serving

NOTE = "CANARYNOTE: no fever, cough since 3 days."
RECORD = {"age_years": 61, "sex": "female", "crp_mg_l": 41.5}
PROBLEM = "application/problem+json"
LINES = [
    b"case_id,patient_id,age_years,sex,crp_mg_l",
    *(b"c%d,p1,61,," % number for number in range(CASES + 1)),
    b"a,b",
]
"""A table with a row more than a bundle may have, and behind it one that could not be read."""


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model(RunConfig(encoders=EncoderConfig(image_size=64), fusion=fusion("cross_attention")))


@pytest.fixture(scope="module")
def service(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(model, tmp_path_factory.mktemp("service") / "spool") as service:
        yield service


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("film") / "CANARYNAME.dcm", ramp())


def parts(*images: Path | bytes, note: str = "", record: object = None) -> list[tuple[str, Any]]:
    """A form; files are called by their own names."""
    form: list[tuple[str, Any]] = [
        ("files", (one.name, one.read_bytes()) if isinstance(one, Path) else ("CANARYNAME", one)) for one in images
    ]
    form += [("note", (None, note))] if note else []
    return form + ([("record", (None, json.dumps(record)))] if record is not None else [])


def packed(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def in_process(model: Model, service: Service, film: Path, note: str = "") -> dict[str, float]:
    """Label -> probability, of the same case without the service."""
    row = CaseRow("c1", "", Source(film), note=note, cells={name: str(value) for name, value in RECORD.items()})
    (said,) = predict(model, [model.encode(read_case(Cohort(Path(), service.engine.config, ()), row))])
    return {finding.label: finding.probability for finding in said.findings}


def told(answer: httpx.Response) -> dict[str, float]:
    assert answer.status_code == 200, answer.text
    return {finding["label"]: finding["probability"] for finding in answer.json()["findings"]}


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM), answer.text
    said = answer.json()
    assert (said["status"], said["code"]) == (status, code)
    assert said["problem"]
    assert said["remedy"]
    assert said["request_id"] == answer.headers["X-Request-ID"]
    assert not any(canary in answer.text for canary in CANARIES)


def test_a_case_is_answered_as_it_is_without_the_service(model: Model, service: Service, film: Path) -> None:
    answer = service.ask(parts(film, note=NOTE, record=RECORD))

    assert told(answer) == pytest.approx(in_process(model, service, film, NOTE), abs=1e-9)
    said = answer.json()
    assert said["present"] == ["image", "note", "record"]
    for finding in said["findings"]:
        odds = finding["probability"] / (1 - finding["probability"])
        whole = finding["base_log_odds"] + sum(finding["contributions"].values())
        assert whole == pytest.approx(np.log(odds), abs=1e-6)
        assert finding["reasons"] is None


def test_files_and_an_archive_of_them_are_one_study(service: Service, film: Path) -> None:
    loose = service.ask(parts(film))
    archive = service.ask(parts(packed(**{"a/1.dcm": film.read_bytes()})))

    assert told(loose) == told(archive)
    assert loose.json()["absent"] == ["note", "record"]


def test_an_explanation_names_what_moved_the_finding(service: Service, film: Path) -> None:
    said = service.ask(parts(film, note=NOTE, record=RECORD), explain=True).json()

    for reasons in (finding["reasons"] for finding in said["findings"]):
        assert {word["text"] for word in reasons["words"]} >= {"no fever", "cough"}
        assert set(reasons["record"]) == set(RECORD)
        (shown,) = reasons["maps"]
        assert (shown["rows"], shown["columns"]) == ramp().shape
        assert any(value is not None for line in shown["cells"] for value in line)


@pytest.mark.parametrize("release", ["R4", "R5"])
def test_fhir_holds_an_observation_for_each_finding(service: Service, film: Path, release: str) -> None:
    answer = service.ask(parts(film, note=NOTE, record=RECORD), format="fhir", release=release)

    assert answer.headers["Content-Type"] == "application/fhir+json"
    kinds = [entry["resource"]["resourceType"] for entry in answer.json()["entry"]]
    assert kinds.count("Observation") == len(LABELS)
    assert "CANARYNOTE" not in answer.text


def test_sr_lies_in_the_study_that_was_sent(service: Service, film: Path) -> None:
    with service.client() as client:
        answer = client.post("/v1/predictions", files=parts(film), headers={"Accept": "application/dicom"})

    report = dcmread(io.BytesIO(answer.content))
    assert answer.headers["Content-Type"] == "application/dicom"
    assert (report.Modality, report.StudyInstanceUID) == ("SR", dcmread(film).StudyInstanceUID)


@dataclass(frozen=True)
class Packed:
    """A cohort as it is packed, with what its cases are one by one."""

    archive: bytes
    films: tuple[Path, ...]
    notes: tuple[str, ...]


CUT_SHORT = BROKEN["pixels cut short"]
TABLE_CASES = ("c1", "c2", "c3", "c4", "c5")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """Two studies, one with its note in a file; one that is cut short, one that is not there, a note too long."""
    folder = tmp_path_factory.mktemp("night")
    films = tuple(
        write(folder / f"{n}.dcm", np.roll(ramp(), 5 * n), StudyInstanceUID=f"1.2.{n}", SeriesInstanceUID=f"1.2.{n}.1")
        for n in range(2)
    )
    CUT_SHORT[2](folder / "broken.dcm")
    lines = ["case_id,patient_id,study,note,age_years,sex,crp_mg_l"]
    lines += [f'c1,p1,s1,"{NOTE}",61,female,41.5', "c2,p2,s2/f.dcm,notes/2.txt,61,female,41.5"]
    lines += ["c3,p3,s3,,,,", "c4,p4,s4,,,,", "c5,p5,,notes/5.txt,61,,"]
    members = {
        "cohort/cases.csv": "\n".join(lines).encode(),
        "cohort/notes/2.txt": b"Cough.",
        "cohort/notes/5.txt": b"a" * (2**20 + 1),
        "cohort/s1/f.dcm": films[0].read_bytes(),
        "cohort/s2/f.dcm": films[1].read_bytes(),
        "cohort/s3/f.dcm": (folder / "broken.dcm").read_bytes(),
    }
    return Packed(packed(**members), films, (NOTE, "Cough."))


def bundled(answer: httpx.Response) -> dict[str, dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return {case["case_id"]: case for case in answer.json()["cases"]}


def test_each_case_of_a_bundle_is_answered_as_it_is_alone(service: Service, night: Packed) -> None:
    answer = service.ask(parts(night.archive), to="bundles")

    cases = bundled(answer)
    assert tuple(cases) == TABLE_CASES
    for case_id, film, note in zip(TABLE_CASES, night.films, night.notes, strict=False):
        alone = service.ask(parts(film, note=note, record=RECORD)).json()
        del alone["request_id"]
        assert cases[case_id] == {"case_id": case_id, "said": alone, "refused": None}
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]


def test_a_case_of_a_bundle_that_cannot_be_read_has_its_own_reason(service: Service, night: Packed) -> None:
    cases = bundled(service.ask(parts(night.archive), to="bundles"))

    refused = {name: case["refused"] for name, case in cases.items() if case["said"] is None}
    assert {name: one["code"] for name, one in refused.items()} == {
        "c3": CUT_SHORT[0].value,
        "c4": "missing-study",
        "c5": "too-large",
    }
    assert all(one["problem"] and one["remedy"] for one in refused.values())


def test_loose_files_archives_of_them_and_one_archive_of_all_are_the_same_bundle(
    service: Service, night: Packed
) -> None:
    one, two = (film.read_bytes() for film in night.films)
    members = {"s1/f.dcm": one, "s1/note.txt": b"Cough.", "s2/f.dcm": two}

    loose = service.ask(parts(*night.films), to="bundles")
    each = service.ask(parts(packed(f=one), packed(f=two)), to="bundles")
    together = service.ask(parts(packed(**members)), to="bundles")

    said = [[case["said"]["findings"] for case in bundled(answer).values()] for answer in (loose, each, together)]
    alone = [
        service.ask(parts(film, note=note)).json()["findings"]
        for film, note in zip(night.films, ("Cough.", ""), strict=True)
    ]
    assert said[2] == alone
    assert [len(findings) for findings in said] == [2, 2, 2]
    assert said[0] in (said[1], said[1][::-1])  # files without names come in the order of their UIDs' digests
    assert alone[1] in said[0]
    assert tuple(bundled(together)) == ("s1", "s2")


def test_a_bundle_as_fhir_has_an_entry_for_each_case_and_its_outcome(service: Service, night: Packed) -> None:
    answer = service.ask(parts(night.archive), to="bundles", format="fhir")

    bundle = answer.json()
    Bundle.model_validate_json(answer.text)
    assert bundle["type"] == "batch-response"
    assert [entry["response"]["status"] for entry in bundle["entry"]] == ["200", "200", "422", "422", "422"]
    assert bundle["entry"][0]["resource"]["resourceType"] == "Bundle"
    (issue,) = bundle["entry"][3]["response"]["outcome"]["issue"]
    assert (issue["diagnostics"], issue["details"]["text"][:8]) == ("missing-study", "case c4:")


def test_a_bundle_as_sr_is_an_archive_of_them_with_the_table_of_what_was_refused(
    service: Service, night: Packed
) -> None:
    answer = service.ask(parts(night.archive), to="bundles", format="sr")

    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    reports = [dcmread(io.BytesIO(archive.read(name))) for name in sorted(archive.namelist()) if name.endswith(".dcm")]
    assert answer.headers["Content-Type"] == "application/zip"
    assert [(report.Modality, report.StudyInstanceUID) for report in reports] == [("SR", "1.2.0"), ("SR", "1.2.1")]
    refused = archive.read("quarantine.csv").decode().splitlines()[1:]
    assert [line.split(",")[0] for line in refused] == ["c3", "c4", "c5"]


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        (None, 415, "not-a-form"),
        ([("note", (None, NOTE))], 422, "unknown-part"),
        (parts(packed(**{"cases.csv": b"id,name\n1,CANARYNAME\n"})), 422, "bad-table"),
        (parts(packed(**{"cases.csv": b"\xff"})), 422, "bad-table"),
        (parts(packed(**{f"s{number}/f": b"x" for number in range(CASES + 1)})), 422, "too-many-studies"),
        (parts(packed(**{"cases.csv": b"\n".join(LINES)})), 422, "too-many-studies"),
        (parts(packed(**{"cases.csv": b"a\n" * 2**23})), 422, "bad-table"),
    ],
)
def test_a_bundle_that_cannot_be_used_is_refused(service: Service, form: Any, status: int, code: str) -> None:
    assert_problem(service.ask(form, to="bundles"), status, code)


def test_a_bomb_in_a_bundle_costs_its_own_study_alone(service: Service, film: Path) -> None:
    cases = bundled(service.ask(parts(packed(film=bytes(2**29)), packed(film=film.read_bytes())), to="bundles"))

    assert [case["refused"] and case["refused"]["code"] for case in cases.values()] == ["too-large", None]


def test_a_bundle_holds_one_place_and_finds_none_where_none_is_free(
    service: Service, night: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.engine, "admitted", service.engine.waiting - 1)
    assert len(bundled(service.ask(parts(night.archive), to="bundles"))) == len(TABLE_CASES)

    monkeypatch.setattr(service.engine, "admitted", service.engine.waiting)
    assert_problem(service.ask(parts(night.archive), to="bundles"), 503, "busy")


def test_a_format_that_nobody_writes_is_refused(service: Service, film: Path) -> None:
    with service.client() as client:
        answer = client.post("/v1/predictions", files=parts(film), headers={"Accept": "text/html"})

    assert_problem(answer, 406, "not-acceptable")


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "x"])
def test_a_wrong_token_is_refused_before_anything_is_read(service: Service, film: Path, token: str) -> None:
    answer = service.ask(parts(film), token=token)

    assert_problem(answer, 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    with service.client(token) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/health/ready").status_code == 200


@pytest.mark.parametrize("how", ["pixels cut short", "text that calls itself DICOM", "a report and nothing else"])
def test_a_broken_study_gets_its_reason_code(service: Service, tmp_path: Path, how: str) -> None:
    code, _, make = BROKEN[how]
    make(tmp_path / "CANARYNAME.dcm")

    assert_problem(service.ask(parts(tmp_path / "CANARYNAME.dcm", note=NOTE)), 422, code.value)


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ([("note", (None, "  "))], 422, "nothing-to-read"),
        ([("record", (None, '{"CANARYNAME": 1}'))], 422, "bad-record"),
        ([("record", (None, '{"age_years": 1e9}'))], 422, "bad-record"),
        ([("record", (None, '{"age_years": NaN}'))], 422, "bad-record"),
        ([("record", (None, "CANARYNOTE"))], 422, "bad-record"),
        ([("note", (None, b"\xff\xfe"))], 422, "corrupt"),
        ([("note", (None, "a")), ("note", (None, "b"))], 422, "several-parts"),
        ([("CANARYNAME", (None, "a"))], 422, "unknown-part"),
        ([("files", (None, "CANARYNAME.zip"))], 422, "not-a-file"),
        ([("note", (None, "a" * (2**20 + 1)))], 413, "upload-too-large"),
    ],
)
def test_a_form_that_cannot_be_used_is_refused(service: Service, form: Any, status: int, code: str) -> None:
    assert_problem(service.ask(form), status, code)


def test_a_bomb_is_refused(service: Service) -> None:
    bomb = packed(film=bytes(2**29))

    assert len(bomb) < 2**20
    assert_problem(service.ask(parts(bomb)), 422, "too-large")


def test_a_picture_that_swallows_all_memory_is_refused_and_the_next_is_answered(service: Service, film: Path) -> None:
    stream = io.BytesIO()
    PIL.Image.new("L", (12_000, 12_000)).save(stream, "PNG")

    assert_problem(service.ask(parts(stream.getvalue())), 422, "too-large")
    assert set(told(service.ask(parts(film)))) == set(LABELS)


def test_a_prior_study_of_another_patient_is_refused(service: Service, film: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.dcm", ramp(), PatientID="CANARYID2", StudyInstanceUID="1.2.9")

    answer = service.ask([*parts(film), ("prior", other.read_bytes())])

    assert_problem(answer, 422, "wrong-prior")


def chunks(sent: list[int], most: int) -> Iterator[bytes]:
    """A form with a file that does not end; counts what was asked for."""
    yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="CANARYNAME"\r\n\r\n'
    while sum(sent) < most:
        sent.append(2**16)
        yield bytes(2**16)


FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def test_an_upload_that_does_not_end_is_refused_at_the_limit(service: Service) -> None:
    """2 GiB would be sent if nobody stopped it; the client sees the answer, or that the connection ended."""
    sent: list[int] = []

    with service.client() as client, suppress(httpx.WriteError, httpx.ReadError):
        assert_problem(
            client.post("/v1/predictions", content=chunks(sent, 2**31), headers=FORM), 413, "upload-too-large"
        )

    assert UPLOAD <= sum(sent) < 16 * UPLOAD
    assert list(service.spool.iterdir()) == []


def test_an_upload_that_declares_too_much_is_refused_before_it_comes(service: Service) -> None:
    head = f"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {2**31}\r\n"
    port = urlsplit(service.url).port

    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"{head}Content-Type: {FORM['Content-Type']}\r\n\r\n".encode())
        answer = connection.recv(2**16)

    assert answer.startswith(b"HTTP/1.1 413")


def test_a_form_that_was_cut_short_is_refused(service: Service) -> None:
    with service.client() as client:
        answer = client.post("/v1/predictions", content=chunks([], 2**16), headers=FORM)

    assert_problem(answer, 400, "malformed-form")


def test_of_32_clients_at_once_none_is_told_wrong(model: Model, service: Service, tmp_path: Path) -> None:
    films = [write(tmp_path / f"{number}.dcm", np.roll(ramp(), 5 * number)) for number in range(32)]

    with ThreadPoolExecutor(32) as clients:
        answers = list(clients.map(lambda film: service.ask(parts(film, record=RECORD)), films))

    for film, answer in zip(films, answers, strict=True):
        assert told(answer) == pytest.approx(in_process(model, service, film), abs=1e-9)


def test_overload_is_told_and_survived(model: Model, film: Path, tmp_path: Path) -> None:
    with serving(model, tmp_path / "spool", waiting=2) as service:
        with ThreadPoolExecutor(32) as clients:
            answers = list(clients.map(lambda _: service.ask(parts(film)), range(32)))
        after = service.ask(parts(film))

    served = [answer for answer in answers if answer.status_code == 200]
    assert 0 < len(served) < 32
    for answer in answers:
        if answer not in served:
            assert_problem(answer, 503, "busy")
            assert int(answer.headers["Retry-After"]) >= 1
    assert {tuple(told(answer).items()) for answer in (*served, after)} == {tuple(told(after).items())}


def test_nothing_of_a_patient_is_in_the_log_or_left_on_the_disk(
    service: Service, film: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, "medmm")
    access = logging.getLogger("uvicorn.access")  # off, as the service has it: libraries of other tests may turn it on
    monkeypatch.setattr(access, "propagate", False)
    monkeypatch.setattr(access, "handlers", [])
    BROKEN["pixels cut short"][2](tmp_path / "CANARYNAME.dcm")

    answers = [service.ask(parts(film, note=NOTE)), service.ask(parts(tmp_path / "CANARYNAME.dcm"))]
    with service.client() as client:
        answers.append(client.get("/CANARYNAME", params={"CANARYID": "1"}))
    until = time.monotonic() + 10
    while len(caplog.messages) < 3 and time.monotonic() < until:  # a line comes after its answer
        time.sleep(0.01)

    assert {answer.headers["X-Request-ID"] for answer in answers} == {line.split()[0] for line in caplog.messages}
    assert not any(canary in caplog.text for canary in CANARIES)
    assert list(service.spool.iterdir()) == []


def test_what_nobody_foresaw_is_a_problem_without_its_text(
    service: Service, film: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(row: CaseRow, *, explained: bool) -> None:
        raise ValueError("CANARYNAME")

    monkeypatch.setattr(service.engine, "score", fail)

    assert_problem(service.ask(parts(film)), 500, "internal")
    assert "ValueError" in caplog.text
    assert "CANARYNAME" not in caplog.text


def test_what_is_counted_can_be_collected(service: Service, film: Path) -> None:
    service.ask(parts(film))

    with service.client() as client:
        text = client.get("/metrics").text

    counted = {sample.labels.get("status") for family in parse(text) for sample in family.samples if sample.value}
    assert "200" in counted
    assert f'medmm_model{{model_id="{service.engine.model.model_id}"}} 1.0' in text


def wait_until_ready(process: subprocess.Popen[str], url: str) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        with suppress(httpx.TransportError):
            assert httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200
            return
        time.sleep(0.1)
    process.kill()
    raise AssertionError(process.communicate()[0])


def test_the_command_serves_until_it_is_told_to_stop_and_leaves_nothing(
    model: Model, film: Path, tmp_path: Path
) -> None:
    Model.save(tmp_path / "model", model.card, model.network, model.encoders)
    port = free_port()
    left = tmp_path / f"medmm-serve-127.0.0.1-{port}" / "of-a-service-that-was-killed"
    left.mkdir(parents=True)

    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "serve", str(tmp_path / "model"), f"--port={port}", "--workers=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, serve.TOKEN: TOKEN, "TMPDIR": str(tmp_path)},
    )
    wait_until_ready(process, f"http://127.0.0.1:{port}")
    assert not left.exists()
    with ThreadPoolExecutor(1) as client:
        asked = client.submit(Address(f"http://127.0.0.1:{port}").ask, parts(film, note=NOTE))
        while not list(left.parent.iterdir()) and not asked.done():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        answer = asked.result()
    said, _ = process.communicate(timeout=60)

    assert set(told(answer)) == set(LABELS)
    assert process.returncode == 0
    assert not left.parent.exists()
    assert f"{answer.headers['X-Request-ID']} POST /v1/predictions 200" in said
    assert not any(canary in said for canary in (*CANARIES, TOKEN))


@pytest.mark.parametrize(
    ("token", "arguments", "problem"),
    [
        ("", ["--host", "0.0.0.0"], "listens on 127.0.0.1 only"),
        ("short", [], "fewer than 16 characters"),
        (TOKEN, ["--key", "key.pem"], "belong together"),
    ],
)
def test_the_command_does_not_start_where_it_would_be_open_to_others(
    monkeypatch: pytest.MonkeyPatch, token: str, arguments: list[str], problem: str
) -> None:
    monkeypatch.setenv(serve.TOKEN, token)

    done = CliRunner().invoke(cli.app, ["serve", "nothing", *arguments])

    assert done.exit_code == 3
    assert problem in done.stderr


def test_a_port_is_taken_from_when_it_is_bound_and_not_from_when_a_model_is_loaded() -> None:
    port = free_port()
    place = serve.Place("127.0.0.1", port)

    with serve._listening(place), pytest.raises(ConfigError, match=f"cannot listen on port {port}"):
        serve._listening(place)


def test_a_spool_that_was_cleaned_away_is_made_again(service: Service, film: Path) -> None:
    shutil.rmtree(service.spool)

    assert service.ask(parts(film)).status_code == 200


@pytest.mark.parametrize(("file", "reason"), [("nowhere.pem", "FileNotFoundError"), (__file__, "SSLError")])
def test_a_certificate_that_cannot_be_used_is_told_before_a_model_is_loaded(file: str, reason: str) -> None:
    done = CliRunner().invoke(cli.app, ["serve", "nothing", "--certificate", file, "--key", file])

    assert done.exit_code == 3
    assert f"the certificate or its key cannot be used ({reason})" in done.stderr
