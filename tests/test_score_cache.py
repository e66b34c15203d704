"""A case that was encoded once is answered by the next model without being decoded, and answered the same."""

import copy
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from benchmarks.killed_scoring import contents
from medmm.case import Case, Image, Note, Record, Study
from medmm.config import EncoderConfig
from medmm.model.cache import FeatureCache
from medmm.model.encode import EncodedCase, Encoders
from medmm.model.folder import Model
from medmm.model.shelf import Shelf
from medmm.model.taught import Taught
from medmm.score import reading
from medmm.score.content import Beside
from medmm.score.cores import on_cores
from medmm.score.engine import Engine
from medmm.score.here import in_process
from pipelines.cli import app
from pipelines.score import Manner, find_cases, memory_of, score_cases
from tests.cohorts import Run, copy_cohort
from tests.dicom_files import ramp, write
from tests.models import write_bert, write_torchvision
from tests.readers import blind


@pytest.fixture(scope="module")
def few(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases of the sample: with film, note and record, and with less."""

    def some(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        whole = [row for row in rows if row["study"] and row["note"]]
        return [
            *whole[:2],
            *[row for row in rows if not row["note"]][:1],
            *[row for row in rows if not row["study"]][:1],
        ]

    return copy_cohort(sample, tmp_path_factory.mktemp("few") / "cohort", some)


@pytest.fixture
def other(run: Run) -> Model:
    """Another model with the same encoders."""
    network = copy.deepcopy(run.trained.model.network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    return replace(run.trained.model, network=network, digest="f" * 64)


def taught(encoders: Encoders, seed: int) -> Encoders:
    """The same encoders with copies beside them, of images and of notes."""
    torch.manual_seed(seed)
    image = Taught(encoders.image.new_tail(), nn.Linear(encoders.image.frozen_width, 2))
    note = Taught(encoders.text.new_upper(), nn.Linear(encoders.text.frozen_width, 2))
    return encoders.taught([image], [note])


def picture(seed: int, *shape: int) -> Image:
    pixels = np.random.default_rng(seed).random(shape, dtype=np.float32)
    return Image(pixels, digest=f"{seed:064}", modality="XC")


def case_of() -> Case:
    """A film, a photograph that has no up, a note, a record, and an earlier film."""
    study, prior = Study((picture(1, 90, 70), picture(2, 64, 80, 3))), Study((picture(3, 64, 64),))
    return Case("c1", "p1", study, Note("Cough since Monday, no fever."), Record({"age": 61.5, "sex": "F"}), prior)


def same(one: EncodedCase, other: EncodedCase) -> bool:
    """Whether two are the same to the last bit."""
    said, tensors = zip(*(_parts(case) for case in (one, other)), strict=True)
    return said[0] == said[1] and all(map(torch.equal, *tensors)) and len(tensors[0]) == 9


def _parts(case: EncodedCase) -> tuple[object, list[torch.Tensor]]:
    """All that a case with note, study and prior says, and its tensors."""
    assert case.note is not None
    studies = [study for study in (case.study, case.prior) if study is not None]
    trunks = [trunk for study in studies for trunk in study.trunks if trunk is not None]
    tensors = [case.note.tokens, case.note.terms, *(trunk.maps for trunk in trunks)]
    for study in studies:
        tensors += [study.tokens, study.place]
    layouts = [(study.images, study.remarks, study.flat, study.time) for study in studies]
    words = (case.note.word_of, case.note.spans, case.note.remarks)
    return (layouts, words, [trunk.flips for trunk in trunks], dict(case.record), case.remarks), tensors


def scored(few: Path, model: Model, engine: Engine, out: Path, cache: Path | None) -> Path:
    cohort = find_cases(few, model.card, out, workers=1)
    done = score_cases(model.info, cohort, out, engine, Beside(similar=True), Manner(workers=1, cache=cache))
    assert (done.scored, done.refused) == (len(cohort.rows), ())
    return out


def here(model: Model, run: Run) -> Engine:
    return in_process(model, memory_of(run.out))


def test_the_next_model_answers_the_same_from_the_cache_and_decodes_nothing(
    few: Path, run: Run, other: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    scored(few, run.trained.model, here(run.trained.model, run), tmp_path / "first", cache)
    plain = scored(few, other, here(other, run), tmp_path / "plain", None)

    monkeypatch.setattr(reading, "read_row", blind)
    recalled = scored(few, other, here(other, run), tmp_path / "recalled", cache)

    assert contents(recalled) == contents(plain)
    assert contents(recalled) != contents(tmp_path / "first")


def test_a_cache_changes_no_byte_while_it_is_filled_nor_on_all_cores(few: Path, run: Run, tmp_path: Path) -> None:
    model, cache = run.trained.model, tmp_path / "cache"
    cores = on_cores(run.out / "model", run.out / "similar.safetensors")
    plain = scored(few, model, here(model, run), tmp_path / "plain", None)

    filled = scored(few, model, cores, tmp_path / "filled", cache)
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")}
    recalled = scored(few, model, cores, tmp_path / "recalled", cache)

    assert len(kept) == 4
    assert contents(filled) == contents(recalled) == contents(plain)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")} == kept


def test_a_film_or_a_note_that_changed_is_encoded_anew(few: Path, run: Run, tmp_path: Path) -> None:
    model, cache = run.trained.model, tmp_path / "cache"
    folder = copy_cohort(few, tmp_path / "cohort", lambda rows: rows[:2])
    scored(folder, model, here(model, run), tmp_path / "before", cache)

    def other(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        rows[0]["study"] = "other"
        rows[1]["note"] += " Now with a productive cough."
        return rows

    changed = copy_cohort(folder, tmp_path / "changed", other)
    write(tmp_path / "changed" / "other" / "film.dcm", ramp())

    from_cache = scored(changed, model, here(model, run), tmp_path / "after", cache)

    assert contents(from_cache) == contents(scored(changed, model, here(model, run), tmp_path / "plain", None))
    assert len(list(cache.rglob("*.safetensors"))) == 4


@pytest.mark.parametrize("left", [0.0, 0.5])
def test_what_is_cut_short_in_the_cache_is_made_again(few: Path, run: Run, tmp_path: Path, left: float) -> None:
    model, cache = run.trained.model, tmp_path / "cache"
    first = scored(few, model, here(model, run), tmp_path / "first", cache)
    sizes = {path: path.stat().st_size for path in cache.rglob("*.safetensors")}
    for path, size in sizes.items():
        path.write_bytes(path.read_bytes()[: int(left * size)])

    again = scored(few, model, here(model, run), tmp_path / "again", cache)

    assert contents(again) == contents(first)
    assert {path: path.stat().st_size for path in cache.rglob("*.safetensors")} == sizes


def test_what_a_killed_writer_left_in_the_cache_is_swept_a_day_later(few: Path, run: Run, tmp_path: Path) -> None:
    model, cache = run.trained.model, tmp_path / "cache"
    (cache / "ab").mkdir(parents=True)
    old, new = (cache / "ab" / f".{'ab' * 20}.{number * 32}.safetensors" for number in "01")
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 90_000,) * 2)

    scored(few, model, here(model, run), tmp_path / "out", cache)

    assert not old.exists()
    assert new.exists()


def test_models_whose_encoders_were_taught_share_what_the_frozen_ones_made(tmp_path: Path) -> None:
    weights, bert = write_torchvision(tmp_path / "resnet18.safetensors"), write_bert(tmp_path / "bert")
    frozen = Encoders(
        EncoderConfig(image="torchvision:resnet18", image_weights=str(weights), image_size=64, text=str(bert))
    )
    one, two = taught(frozen, seed=1), taught(frozen, seed=2)
    case = case_of()
    key = Shelf(tmp_path / "cache", one.frozen_digest).key(b"a case")

    made = one.encode(case, prior=True, keep_trunks=True)
    FeatureCache(tmp_path / "cache", one).keep_case(key, one.without_taught(made), {}, {})

    for encoders in (one, two, frozen):
        cache = FeatureCache(tmp_path / "cache", encoders)
        assert Shelf(tmp_path / "cache", encoders.frozen_digest).key(b"a case") == key
        kept = cache.case(key, case.case_id)
        assert kept is not None
        assert same(encoders.with_taught(kept[0]), encoders.encode(case, prior=True, keep_trunks=True))


def test_the_command_keeps_what_it_encodes(few: Path, run: Run, tmp_path: Path) -> None:
    arguments = ["score", str(few), "--model", str(run.out), "--cache", str(tmp_path / "cache")]

    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out"), "--workers", "1"])

    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 4
