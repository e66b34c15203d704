"""What a store elsewhere promises: several runs write into one database, and each knows what the others did."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medmm.config import EncoderConfig, RunConfig
from medmm.model.folder import Model
from medmm.read.cohort import Cohort
from medmm.read.sources.folder import read_folder
from medmm.result import Prediction, Refusal
from medmm.score.cohort import Scored, score_cohort
from medmm.score.here import in_process
from medmm.score.shard import Shard
from medmm.store.store import STORE, Store
from medmm.write.picture import picture_path
from pipelines.cli import app
from pipelines.score import without_table
from tests import postgres
from tests.cohorts import table
from tests.dicom_files import BROKEN, ramp, write
from tests.models import fusion, random_model
from tests.test_score_survives import DIES, OUTPUTS
from ui.folder import films_folder, open_store

CASES, CUT = ("a", "b", "c", "d", "e", "f"), "cut-short"
SECRET = "CANARYSECRET"


@dataclass(frozen=True)
class Night:
    """Studies, a model, and what one run alone makes of them."""

    studies: Path
    model: Model
    folder: Path
    """Of the model."""
    whole: Path

    def cohort(self) -> Cohort:
        return read_folder(self.studies, without_table(self.model.card), workers=1)

    def score(self, out: Path, url: str | None, cohort: Cohort | None = None) -> Scored:
        engine = in_process(self.model)
        return score_cohort(
            self.model.info, cohort or self.cohort(), out, lambda done, total: None, engine, workers=1, store_url=url
        )


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    folder = tmp_path_factory.mktemp("night")
    model = random_model(RunConfig(encoders=EncoderConfig(image_size=64), fusion=fusion("cross_attention")))
    Model.save(folder / "model", model.card, model.network, model.encoders)
    for number, case_id in enumerate(CASES):
        film = np.roll(ramp(), 5 * number)
        write(folder / "in" / case_id / "film.dcm", film, StudyInstanceUID=f"1.2.826.{number}")
    (folder / "in" / CUT).mkdir()
    BROKEN["pixels cut short"][2](folder / "in" / CUT / "film.dcm")
    whole = Night(folder / "in", Model.load(folder / "model"), folder / "model", folder / "whole")
    whole.score(whole.whole, None)
    return whole


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.running() as url:
        yield url.replace("postgresql+psycopg://medmm@", f"postgresql://medmm:{SECRET}@")  # as others write it


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of an empty store that lies elsewhere."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'elsewhere.sqlite'}"
        return
    server: str = request.getfixturevalue("server")
    with postgres.database(server.replace("postgresql:", "postgresql+psycopg:")) as url:
        yield url.replace("postgresql+psycopg:", "postgresql:")


def kept(where: Path | str, model: Model) -> tuple[tuple[Prediction, ...], tuple[Refusal, ...], int]:
    """What a store says of all cases, and how many predictions it holds."""
    with Store(where) as store:
        return (
            store.predictions(model.model_id),
            store.refusals(model.model_id),
            len(store.history(model.model_id)),
        )


def cases(out: Path) -> set[str]:
    return {row["case_id"] for name in ("predictions.csv", "quarantine.csv") for row in table(out / name)}


def test_two_parts_scored_into_one_database_at_once_give_the_worklist_of_one_run(
    night: Night, url: str, tmp_path: Path
) -> None:
    parts = [Shard(number, 2).part(night.cohort()) for number in (1, 2)]
    outs = [tmp_path / "out" / str(number) for number in (1, 2)]

    with ThreadPoolExecutor(2) as machines:
        done = list(machines.map(lambda out, part: night.score(out, url, part), outs, parts))

    assert kept(url, night.model) == kept(night.whole / STORE, night.model)
    assert sum(one.scored for one in done) == len(CASES)
    assert [cases(out) for out in outs] == [{row.case_id for row in part.rows} for part in parts]
    assert all(cases(out) for out in outs)
    rows = [row for out in outs for row in table(out / "predictions.csv")]
    assert sorted(rows, key=lambda row: row["case_id"]) == table(night.whole / "predictions.csv")
    assert not any((out / STORE).exists() for out in outs)


def test_the_pictures_of_all_parts_are_found_from_the_folder_above_them(night: Night, url: str, tmp_path: Path) -> None:
    for number in (1, 2):
        night.score(tmp_path / "out" / str(number), url, Shard(number, 2).part(night.cohort()))

    with open_store(tmp_path / "out", url) as store:
        evidence = [store.case(night.model.model_id, case_id).evidence for case_id in CASES]

    films = [film.digest for one in evidence for film in one.films]
    assert len(films) == len(CASES)
    assert all(picture_path(films_folder(tmp_path / "out"), digest).is_file() for digest in films)


def test_what_another_run_has_scored_is_known_and_stands_in_the_tables(night: Night, url: str, tmp_path: Path) -> None:
    first = Shard(1, 2).part(night.cohort())
    before = night.score(tmp_path / "first", url, first)

    done = night.score(tmp_path / "all", url)

    assert before.scored > 0
    assert (done.known, done.scored) == (before.scored, len(CASES) - before.scored)
    assert [(tmp_path / "all" / name).read_bytes() for name in OUTPUTS] == [
        (night.whole / name).read_bytes() for name in OUTPUTS
    ]
    assert kept(url, night.model) == kept(night.whole / STORE, night.model)


def test_studies_that_come_later_are_added_to_the_tables_of_their_own_folder_alone(
    night: Night, url: str, tmp_path: Path
) -> None:
    """As `--watch` scores them, a few at a time."""
    cohort = night.cohort()
    a, b, others = (replace(cohort, rows=rows) for rows in (cohort.rows[:1], cohort.rows[1:2], cohort.rows[2:]))

    for out, part in (("mine", a), ("theirs", others), ("mine", b)):
        night.score(tmp_path / out, url, part)

    assert cases(tmp_path / "mine") == {row.case_id for row in (*a.rows, *b.rows)}
    assert cases(tmp_path / "theirs") == {row.case_id for row in others.rows}


def test_a_run_that_was_killed_goes_on_where_it_was(night: Night, url: str, tmp_path: Path) -> None:
    out, command = tmp_path / "out", tmp_path / "dies.py"
    command.write_text(DIES)
    arguments = ["score", str(night.studies), "--model", str(night.folder), "--out", str(out), "--workers=1"]
    last_film = [sys.executable, str(command), str(len(CASES)), *arguments, "--store", url]
    killed = subprocess.run(last_film, check=False, capture_output=True)
    predictions, _, _ = kept(url, night.model)

    done = night.score(out, url)

    assert killed.returncode == -signal.SIGKILL
    assert len(predictions) == done.known > 0
    assert kept(url, night.model) == kept(night.whole / STORE, night.model)
    assert [(out / name).read_bytes() for name in OUTPUTS] == [(night.whole / name).read_bytes() for name in OUTPUTS]


def test_the_password_of_a_database_is_in_no_message_and_no_file(
    night: Night, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    answers = []
    for number, address in enumerate((server, f"postgresql://medmm:{SECRET}@127.0.0.1:1/medmm", f"x:{SECRET}@")):
        monkeypatch.setenv("MEDMM_STORE", address)
        arguments = ["score", str(night.studies), "--model", str(night.folder), "--out", str(tmp_path / str(number))]
        answers.append(CliRunner().invoke(app, [*arguments, "--workers=1"]))

    assert [one.exit_code for one in answers] == [2, 3, 3]
    assert not any(SECRET in text for one in answers for text in (one.output, one.stderr))
    assert SECRET not in caplog.text
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > len(OUTPUTS)
    assert not any(SECRET.encode() in path.read_bytes() for path in written)
