"""What sending promises: each object arrives once, whatever the PACS or the machine does meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, evt
from pynetdicom.events import Event
from typer.testing import CliRunner, Result

from medmm.read.sources import dicomweb
from medmm.send import deliver, dimse
from pipelines.cli import app
from pipelines.export import EXPORT
from pipelines.send import SENT
from tests.dicom_files import CANARIES, ramp, write
from tests.orthanc import PASSWORD, TITLE, USER, Orthanc, running
from tests.ports import free_port

if TYPE_CHECKING:
    from pynetdicom.dimse_primitives import C_STORE

COUNT = 7
"""Objects of every made-up export: reports and captures of two studies."""


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dicomweb.USER, USER)
    monkeypatch.setenv(dicomweb.PASSWORD, PASSWORD)
    monkeypatch.delenv(dicomweb.TOKEN, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(deliver, "_FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(deliver, "_LONGEST_WAIT_S", 0.2)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A scored folder after `medmm export`."""
    out = tmp_path / "out"
    for number in range(COUNT):
        study = f"1.2.826.{1 + number % 2}"
        known: dict[str, Any] = {
            "StudyInstanceUID": study,
            "SeriesInstanceUID": f"{study}.{number}",
            "SOPInstanceUID": uid(number),
        }
        if number % 3:
            path = out / EXPORT / "capture" / f"{number}.dcm"
            write(path, ramp() + number, SOPClassUID=SecondaryCaptureImageStorage, **known)
        else:
            write(
                out / EXPORT / "sr" / f"{number}.dcm", None, SOPClassUID=ComprehensiveSRStorage, Modality="SR", **known
            )
    return out


def uid(number: int) -> str:
    return f"1.2.826.9.{number}"


ALL = sorted(map(uid, range(COUNT)))


def send(out: Path, to: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["send", str(out), "--to", to, *options])


def acknowledged(out: Path) -> list[str]:
    """SOP Instance UIDs of the ledger, once for each line."""
    path = out / EXPORT / SENT
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted(json.loads(line)["instance"] for line in lines)


class Pacs:
    """A DICOMweb server that answers what a test wants, and remembers what came."""

    def __init__(self) -> None:
        self.came: list[list[str]] = []
        """SOP Instance UIDs of each request."""
        self.answer: Callable[[list[str]], tuple[int, object]] = lambda uids: (200, stored(*uids))
        pacs = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                uids = [name for name in ALL if name.encode() + b"\0" in body or name.encode() + b"\x08" in body]
                pacs.came.append(uids)
                status, said = pacs.answer(uids)
                content = json.dumps(said).encode() if said is not None else b"CANARYNAME"
                self.send_response(status)
                self.send_header("Content-Type", "application/dicom+json" if said is not None else "text/plain")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/dicom-web"


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    server = Pacs()
    threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.http.shutdown()
    server.http.server_close()


def sequence(tag: str, uids: dict[str, int | None], reason: str) -> dict[str, Any]:
    """A sequence of a Store Instances Response (PS3.18 I.2)."""
    items = [
        {"00081155": {"vr": "UI", "Value": [name]}} | ({reason: {"vr": "US", "Value": [code]}} if code else {})
        for name, code in uids.items()
    ]
    return {tag: {"vr": "SQ", "Value": items}}


def stored(*uids: str, **warnings: int) -> dict[str, Any]:
    return sequence("00081199", dict.fromkeys(uids) | dict(warnings), "00081196")


def failed(uids: dict[str, int | None]) -> dict[str, Any]:
    return sequence("00081198", uids, "00081197")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running(tmp_path_factory.mktemp("orthanc"), dicom=True) as server:
        yield server


@pytest.fixture
def orthanc(server: Orthanc) -> Orthanc:
    """An Orthanc that holds nothing."""
    server.clear()
    return server


def test_everything_arrives_and_a_second_run_sends_nothing(orthanc: Orthanc, out: Path) -> None:
    first, again = send(out, orthanc.url), send(out, orthanc.url)

    assert (first.exit_code, again.exit_code) == (0, 0), first.output
    assert orthanc.instances() == acknowledged(out) == ALL
    assert f"{COUNT} objects acknowledged\n" in first.stdout
    assert f"0 objects acknowledged, {COUNT} by an earlier run" in again.stdout


def test_what_a_pacs_has_already_counts_as_stored(orthanc: Orthanc, out: Path) -> None:
    send(out, orthanc.url)
    (out / EXPORT / SENT).unlink()

    done = send(out, orthanc.url)

    assert done.exit_code == 0, done.output
    assert orthanc.instances() == acknowledged(out) == ALL


def test_what_cstore_stores_is_what_was_written(orthanc: Orthanc, out: Path) -> None:
    to = f"dicom://{TITLE}@127.0.0.1:{orthanc.dicom_port}"

    first, again = send(out, to, "--as", "NIGHT"), send(out, to)

    assert (first.exit_code, again.exit_code) == (0, 0), first.output
    assert orthanc.instances() == acknowledged(out) == ALL
    assert f"0 objects acknowledged, {COUNT} by an earlier run" in again.stdout


def test_two_pacs_are_two_matters(orthanc: Orthanc, out: Path, pacs: Pacs) -> None:
    send(out, orthanc.url)

    assert send(out, pacs.url).exit_code == 0
    assert sorted(name for uids in pacs.came for name in uids) == ALL


def test_a_pacs_that_is_down_for_a_while_gets_everything_once(out: Path, tmp_path: Path) -> None:
    port = free_port()
    done: list[Result] = []
    sending = threading.Thread(
        target=lambda: done.append(send(out, f"http://127.0.0.1:{port}/dicom-web", "--patience", "120"))
    )
    sending.start()
    time.sleep(1)

    with running(tmp_path / "late", port) as orthanc:
        sending.join()
        assert orthanc.instances() == acknowledged(out) == ALL

    assert done[0].exit_code == 0, done[0].output


@pytest.mark.parametrize("scheme", ["http", "dicom"])
def test_a_pacs_that_stays_away_costs_nothing_but_time(out: Path, orthanc: Orthanc, scheme: str) -> None:
    port = free_port()
    to = f"http://127.0.0.1:{port}/dicom-web" if scheme == "http" else f"dicom://PACS@127.0.0.1:{port}"

    done = send(out, to, "--patience", "1")

    assert done.exit_code == 2
    assert f"{COUNT} wait: the PACS does not answer" in done.stdout
    assert acknowledged(out) == []


def test_a_run_that_is_killed_in_the_middle_is_completed_by_the_next(
    out: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = threading.Event()

    def answer(uids: list[str]) -> tuple[int, object]:
        if len(pacs.came) > 1 and not reached.is_set():  # the first request was answered
            reached.set()
            time.sleep(60)
        return 200, stored(*uids)

    pacs.answer = answer
    process = subprocess.Popen([sys.executable, "-m", "pipelines.cli", "send", str(out), "--to", pacs.url])
    assert reached.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = acknowledged(out)

    done = send(out, pacs.url)

    assert before == sorted(pacs.came[0])
    assert 0 < len(before) < COUNT
    assert done.exit_code == 0
    assert acknowledged(out) == ALL
    assert not set(before) & {name for uids in pacs.came[2:] for name in uids}


def test_a_line_that_was_cut_short_is_sent_again(out: Path, pacs: Pacs) -> None:
    send(out, pacs.url)
    ledger = out / EXPORT / SENT
    lost = json.loads(ledger.read_text().splitlines()[-1])["instance"]
    ledger.write_bytes(ledger.read_bytes()[:-5])
    pacs.came.clear()

    assert send(out, pacs.url).exit_code == 0
    assert pacs.came == [[lost]]
    assert send(out, pacs.url).exit_code == 0
    assert len(pacs.came) == 1


def test_objects_that_a_pacs_refuses_are_named_by_reason_and_the_others_are_stored(out: Path, pacs: Pacs) -> None:
    def answer(uids: list[str]) -> tuple[int, object]:
        bad = {name: code for name, code in {uid(0): 0xA900, uid(1): 0x0122}.items() if name in uids}
        return (202 if len(bad) < len(uids) else 409), stored(*(set(uids) - bad.keys())) | failed({**bad})

    pacs.answer = answer

    done = send(out, pacs.url)

    assert done.exit_code == 2
    assert "1 refused: Data Set Does Not Match SOP Class (A900)" in done.stdout
    assert "1 refused: Refused: SOP Class Not Supported (0122)" in done.stdout
    assert acknowledged(out) == ALL[2:]


def test_a_conflict_that_names_nothing_costs_only_the_object_that_has_it(out: Path, pacs: Pacs) -> None:
    pacs.answer = lambda uids: (409, None) if uid(0) in uids else (200, stored(*uids))

    done = send(out, pacs.url)

    assert done.exit_code == 2
    assert "1 refused: Processing Failure (0110)" in done.stdout
    assert acknowledged(out) == ALL[1:]
    assert not any(canary in done.output for canary in CANARIES)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [(202, 0xB000, "Coercion of Data Elements (B000)"), (409, 0x0111, "stored before (0111)")],
)
def test_a_warning_and_a_duplicate_count_as_stored(out: Path, pacs: Pacs, status: int, code: int, reason: str) -> None:
    said = {202: lambda uids: stored(**dict.fromkeys(uids, code)), 409: lambda uids: failed(dict.fromkeys(uids, code))}
    pacs.answer = lambda uids: (status, said[status](uids))

    done = send(out, pacs.url)

    assert done.exit_code == 0
    assert f"{COUNT} acknowledged with a warning: {reason}" in done.stdout
    assert acknowledged(out) == ALL


def test_a_pacs_without_room_is_asked_again(out: Path, pacs: Pacs) -> None:
    def answer(uids: list[str]) -> tuple[int, object]:
        if len(pacs.came) < 3:
            return 202, stored(*uids[1:]) | failed({uids[0]: 0xA700})
        return (503, None) if len(pacs.came) == 3 else (200, stored(*uids))

    pacs.answer = answer

    assert send(out, pacs.url, "--patience", "30").exit_code == 0
    assert acknowledged(out) == ALL


def test_an_object_for_which_there_is_never_room_does_not_hold_up_the_others(out: Path, pacs: Pacs) -> None:
    def answer(uids: list[str]) -> tuple[int, object]:
        taken = [uid for uid in uids if uid != ALL[0]]
        return 202, stored(*taken) | (failed({ALL[0]: 0xA700}) if ALL[0] in uids else {})

    pacs.answer = answer

    done = send(out, pacs.url, "--patience", "0")

    assert done.exit_code == 2
    assert acknowledged(out) == ALL[1:]
    assert "1 wait: the PACS does not take them now: Refused: Out of Resources (A700)" in done.stdout


def test_an_object_at_which_a_pacs_fails_does_not_hold_up_the_others(out: Path, pacs: Pacs) -> None:
    pacs.answer = lambda uids: (500, None) if ALL[0] in uids else (200, stored(*uids))

    done = send(out, pacs.url, "--patience", "0")

    assert done.exit_code == 2
    assert acknowledged(out) == ALL[1:]
    assert "1 wait: the PACS does not take them now: Processing Failure (0110)" in done.stdout


def test_an_object_at_which_a_pacs_fails_is_tried_again_when_the_others_have_gone(out: Path, pacs: Pacs) -> None:
    def answer(uids: list[str]) -> tuple[int, object]:
        fails = ALL[0] in uids and sum(ALL[0] in one for one in pacs.came) < 4
        return (500, None) if fails else (200, stored(*uids))

    pacs.answer = answer

    done = send(out, pacs.url, "--patience", "30")

    assert done.exit_code == 0
    assert acknowledged(out) == ALL
    assert pacs.came[-2:] == [[ALL[0]], [ALL[0]]]


def test_an_object_that_ends_the_association_does_not_hold_up_the_others(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dimse, "_TIMEOUT_S", 3)
    shutil.rmtree(out / EXPORT / "capture")

    with archive(lambda name: 0x0000, breaks={uid(0)}) as address:
        done = send(out, f"dicom://ARCHIVE{address}", "--patience", "2")

    assert done.exit_code == 2
    assert acknowledged(out) == [uid(3), uid(6)]
    assert "1 wait: the PACS ended the association" in done.stdout


def test_a_pacs_that_fails_at_everything_is_not_offered_everything(
    out: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_AT_ONCE", 2)
    pacs.answer = lambda uids: (500, None)

    done = send(out, pacs.url, "--patience", "0")

    assert done.exit_code == 2
    assert [len(uids) for uids in pacs.came] == [2, 1, 1]
    assert f"{COUNT} wait: the PACS does not take them now: Processing Failure (0110)" in done.stdout


def test_what_is_accepted_and_not_named_is_not_taken_for_stored(out: Path, pacs: Pacs) -> None:
    pacs.answer = lambda uids: (202, stored(*uids[1:]))

    done = send(out, pacs.url, "--patience", "0")

    assert done.exit_code == 2
    assert 0 < len(acknowledged(out)) < COUNT


def test_a_page_that_is_no_answer_is_not_taken_for_one(out: Path, pacs: Pacs) -> None:
    pacs.answer = lambda uids: (200, None)

    done = send(out, pacs.url)

    assert done.exit_code == 3
    assert "does not say what it stored" in done.stderr
    assert acknowledged(out) == []


@pytest.mark.parametrize(("status", "words"), [(401, "refuses access (401)"), (404, "answers 404")])
def test_a_wrong_password_or_address_is_one_line_at_once(out: Path, pacs: Pacs, status: int, words: str) -> None:
    pacs.answer = lambda uids: (status, None)

    done = send(out, pacs.url, "--patience", "600")

    assert done.exit_code == 3
    assert words in done.stderr.splitlines()[-1]
    assert len(pacs.came) == 1


@contextmanager
def archive(status: Callable[[str], int], breaks: Collection[str] = ()) -> Iterator[str]:
    """A storage SCP that answers each SOP Instance UID with a status or breaks at it, and takes no captures."""

    def store(event: Event) -> int:
        name = str(cast("C_STORE", event.request).AffectedSOPInstanceUID)
        if name in breaks:
            event.assoc.abort()
        return status(name)

    theirs, port = AE("ARCHIVE"), free_port()
    theirs.require_called_aet = True
    theirs.add_supported_context(ComprehensiveSRStorage)
    server = theirs.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    yield f"@127.0.0.1:{port}"
    server.shutdown()


def test_cstore_statuses_are_treated_by_class(out: Path) -> None:
    said = {uid(0): 0x0000, uid(3): 0xB007, uid(6): 0xC001}

    with archive(lambda name: said[name]) as address:
        done = send(out, f"dicom://ARCHIVE{address}")

    assert done.exit_code == 2
    assert acknowledged(out) == [uid(0), uid(3)]
    assert "1 acknowledged with a warning: Data Set Does Not Match SOP Class (B007)" in done.stdout
    assert "1 refused: Cannot Understand (C001)" in done.stdout
    assert "4 refused: Refused: SOP Class Not Supported (0122)" in done.stdout


def test_a_pacs_that_takes_nothing_of_a_study_is_not_waited_for(out: Path) -> None:
    shutil.rmtree(out / EXPORT / "sr")

    with archive(lambda name: 0x0000) as address:
        done = send(out, f"dicom://ARCHIVE{address}", "--patience", "600")

    assert done.exit_code == 2
    assert "4 refused: Refused: SOP Class Not Supported (0122)" in done.stdout


def test_cstore_out_of_resources_waits(out: Path) -> None:
    tried = Counter[str]()

    def status(name: str) -> int:
        tried[name] += 1
        return 0xA700 if tried[name] < 3 else 0x0000

    with archive(status) as address:
        done = send(out, f"dicom://ARCHIVE{address}", "--patience", "30")

    assert acknowledged(out) == [uid(0), uid(3), uid(6)]
    assert "wait" not in done.stdout


def test_a_wrong_ae_title_is_one_line_at_once(out: Path) -> None:
    with archive(lambda name: 0x0000) as address:
        done = send(out, f"dicom://OTHER{address}", "--patience", "600")

    assert done.exit_code == 3
    assert "rejects the association" in done.stderr


@pytest.mark.parametrize(
    "to",
    ["ftp://pacs", "dicom://pacs:104", "dicom://A@", "dicom://A@h:1/x", "http://", "https://u:p@h/x", "dicom://A@h:x"],
)
def test_an_address_that_is_none_is_refused(out: Path, to: str) -> None:
    done = send(out, to)

    assert done.exit_code == 3
    assert done.stderr.startswith("medmm: ")


def test_a_folder_without_objects_says_what_to_do(tmp_path: Path) -> None:
    done = send(tmp_path, "https://pacs")

    assert done.exit_code == 3
    assert "medmm export" in done.stderr


def test_a_file_that_is_cut_short_is_not_sent(out: Path, pacs: Pacs) -> None:
    path = out / EXPORT / "sr" / "0.dcm"
    path.write_bytes(path.read_bytes()[:100])

    done = send(out, pacs.url)

    assert done.exit_code == 3
    assert "0.dcm is not a whole DICOM file" in done.stderr


def test_what_a_killed_export_left_half_written_is_not_sent(out: Path, pacs: Pacs) -> None:
    whole = next((out / EXPORT / "capture").glob("*.dcm"))
    (whole.parent / f".0.{'0' * 32}.dcm").write_bytes(whole.read_bytes()[:-100])

    done = send(out, pacs.url)

    assert done.exit_code == 0
    assert acknowledged(out) == ALL


def test_two_runs_do_not_send_at_once(out: Path, pacs: Pacs) -> None:
    pacs.answer = lambda uids: (503, None)
    arguments = [sys.executable, "-m", "pipelines.cli", "send", str(out), "--to", pacs.url, "--patience", "100"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    while not pacs.came:
        time.sleep(0.05)

    done = send(out, pacs.url)
    process.kill()
    process.wait()

    assert done.exit_code == 3
    assert "another run is writing" in done.stderr
