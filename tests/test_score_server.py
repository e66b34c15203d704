"""What scoring from a DICOMweb server promises: parts of its studies, and studies as they come."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from medmm.config import EncoderConfig, RunConfig
from medmm.model.folder import Model
from medmm.read.sources.scan import hashed
from medmm.score.shard import Shard
from pipelines.cli import app
from tests.cohorts import table
from tests.dicom_files import ramp, write
from tests.models import fusion, random_model
from tests.test_read_dicomweb import Answer, Fake, as_json, as_part, fake, item

__all__ = ["fake"]  # a fixture

UIDS = tuple(f"1.2.826.{number}" for number in range(1, 5))


@dataclass
class Pacs:
    """Studies of one film each; what is broken is listed, and given with status 500."""

    films: dict[str, bytes]
    counts: dict[str, int] = field(default_factory=dict)
    """Study Instance UID -> instances that the server says it has; a study that is not in it is not there yet."""
    broken: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    """Study Instance UIDs whose film was asked for."""
    looks: int = 0
    down: bool = False

    def answer(self, path: str, query: dict[str, list[str]]) -> Answer:
        start = int(query.get("offset", ["0"])[0])
        if path.endswith("/studies"):
            self.looks += not start
            return (404, {}, b"CANARYNAME") if self.down else as_json([self._study(uid) for uid in self.counts][start:])
        uid = path.split("/studies/")[1].split("/")[0]
        if path.endswith("/instances"):
            return as_json([item(T0020000E=f"{uid}.1", T00080018=f"{uid}.1.1")][start:])
        self.asked.append(uid)
        return (500, {}, b"CANARYNAME") if uid in self.broken else as_part(self.films[uid])

    def _study(self, uid: str) -> dict[str, Any]:
        return item(
            T0020000D=uid, T00100020="CANARYID", T00080020="20260102", T00080061=["CR"], T00201208=self.counts[uid]
        )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    model = random_model(RunConfig(encoders=EncoderConfig(image_size=64), fusion=fusion("cross_attention")))
    Model.save(folder, model.card, model.network, model.encoders)
    return folder


@pytest.fixture
def pacs(fake: Fake, tmp_path: Path) -> Pacs:
    films = {}
    for number, uid in enumerate(UIDS):
        names: dict[str, Any] = {
            "StudyInstanceUID": uid,
            "SeriesInstanceUID": f"{uid}.1",
            "SOPInstanceUID": f"{uid}.1.1",
        }
        films[uid] = write(tmp_path / "made" / f"{uid}.dcm", ramp() + number, **names).read_bytes()
    pacs = Pacs(films, dict.fromkeys(UIDS, 1))
    fake.answer = pacs.answer
    return pacs


def score(url: str, model: Path, out: Path, *more: str) -> Result:
    arguments = ["score", url, "--model", str(model), "--out", str(out), "--modality", "CR", "--workers", "1", *more]
    return CliRunner().invoke(app, arguments)


def cases(out: Path, name: str = "predictions.csv") -> set[str]:
    path = out / name
    return {row["case_id"] for row in table(path)} if path.exists() else set()


def ids(*uids: str) -> set[str]:
    return {f"study-{hashed(uid)}" for uid in uids}


def test_the_parts_of_a_server_are_its_studies_and_each_is_retrieved_once(
    fake: Fake, pacs: Pacs, model: Path, tmp_path: Path
) -> None:
    done = [score(fake.url, model, tmp_path / str(number), "--shard", f"{number}/2") for number in (1, 2)]

    assert [one.exit_code for one in done] == [0, 0], done[0].output
    for number in (1, 2):
        assert cases(tmp_path / str(number)) == ids(*filter(Shard(number, 2).has, UIDS))
        assert cases(tmp_path / str(number))
    assert sorted(pacs.asked) == sorted(UIDS)


def watching(pacs: Pacs, url: str, model: Path, out: Path, then: Callable[[], None]) -> Result:
    """Watch a server, do something meanwhile, and stop."""

    def act() -> None:
        until(lambda: pacs.looks > 0)
        try:
            then()
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=act)
    other.start()
    done = score(url, model, out, "--watch", "0.1")
    other.join()
    return done


def until(done: Callable[[], bool]) -> None:
    last = time.monotonic() + 120
    while not done():
        assert time.monotonic() < last
        time.sleep(0.02)


def test_a_watched_server_is_asked_again_and_what_is_new_is_scored_until_it_is_stopped(
    fake: Fake, pacs: Pacs, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pacs.counts = {UIDS[0]: 1}

    def come() -> None:
        until(lambda: cases(out) == ids(UIDS[0]))
        pacs.down = True
        before = pacs.looks
        until(lambda: pacs.looks > before + 2)
        pacs.down = False
        pacs.counts[UIDS[1]] = 1
        until(lambda: cases(out) == ids(*UIDS[:2]))

    done = watching(pacs, fake.url, model, out, come)

    assert done.exit_code == 0, done.output
    assert sorted(pacs.asked) == sorted(UIDS[:2])
    assert done.output.count("Waiting") == 1
    assert "CANARY" not in done.output


def test_a_study_on_a_watched_server_is_left_until_two_looks_agree_on_its_number_of_instances(
    fake: Fake, pacs: Pacs, model: Path, tmp_path: Path
) -> None:
    out, grows = tmp_path / "out", UIDS[1]
    answer = pacs.answer

    def growing(path: str, query: dict[str, list[str]]) -> Answer:
        if path.endswith("/studies"):
            pacs.counts[grows] += 1
        return answer(path, query)

    fake.answer = growing
    pacs.counts = {UIDS[0]: 1, grows: 1}

    def settle() -> None:
        until(lambda: cases(out) == ids(UIDS[0]))
        assert grows not in pacs.asked
        fake.answer = answer
        pacs.counts[grows] = 1
        until(lambda: cases(out) == ids(UIDS[0], grows))

    assert watching(pacs, fake.url, model, out, settle).exit_code == 0


def test_what_a_watched_server_did_not_give_is_asked_for_again(
    fake: Fake, pacs: Pacs, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pacs.counts, pacs.broken = {UIDS[0]: 1}, {UIDS[0]}

    def repair() -> None:
        until(lambda: cases(out, "quarantine.csv") == ids(UIDS[0]))
        pacs.broken.clear()
        until(lambda: cases(out) == ids(UIDS[0]))

    assert watching(pacs, fake.url, model, out, repair).exit_code == 0
    assert cases(out, "quarantine.csv") == set()
