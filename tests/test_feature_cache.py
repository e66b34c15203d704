"""What was encoded once is remembered by content: whole, the same, and without a word of the patient."""

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from medmm.case import Note
from medmm.config import EncoderConfig
from medmm.model.cache import FeatureCache
from medmm.model.encode import EncodedNote, Encoders
from medmm.read.dicom.study import read_study
from medmm.read.sources.source import Source
from tests.dicom_files import CANARIES, ramp, write
from tests.models import write_bert, write_torchvision

NOTE = "CANARYNOTE no fever since 3 days"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EncoderConfig:
    folder = tmp_path_factory.mktemp("encoders")
    weights = write_torchvision(folder / "resnet18.safetensors")
    bert = write_bert(folder / "bert")
    return EncoderConfig(image="torchvision:resnet18", image_weights=str(weights), image_size=64, text=str(bert))


@pytest.fixture(scope="module")
def encoders(config: EncoderConfig) -> Encoders:
    return Encoders(config)


@pytest.fixture
def cache(tmp_path: Path, encoders: Encoders) -> FeatureCache:
    return FeatureCache(tmp_path / "cache", encoders)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write(tmp_path / "CANARYID" / "film.dcm", ramp(), PatientComments="CANARYNOTE", ViewPosition="LL")


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def test_a_study_comes_back_as_it_was_encoded(cache: FeatureCache, encoders: Encoders, film: Path) -> None:
    study = encoders.encode_study(read_study(film, "c1"))
    key = cache.key(Source(film).digest())
    assert cache.study(key) is None

    cache.keep_study(key, study)
    kept = cache.study(key)

    assert kept is not None
    assert torch.equal(kept.tokens, study.tokens)
    assert torch.equal(kept.place, study.place)
    assert kept.images == study.images
    assert kept.remarks == study.remarks
    assert kept.time == study.time


def test_a_note_comes_back_as_it_was_encoded(cache: FeatureCache, encoders: Encoders) -> None:
    note = encoders.encode_note(Note(NOTE + " cough" * 100))
    key = cache.key(NOTE.encode())

    cache.keep_note(key, note)
    kept = cache.note(key)

    assert kept is not None
    assert torch.equal(kept.tokens, note.tokens)
    assert (kept.word_of, kept.spans) == (note.word_of, note.spans)
    assert kept.remarks == note.remarks
    assert note.remarks == ("note of 106 word pieces read in 2 pieces",)


def test_the_view_of_a_film_travels_with_its_patches(encoders: Encoders, film: Path) -> None:
    study = encoders.encode_study(read_study(film, "c1"))

    assert set(study.place[:, 2].tolist()) == {2.0}
    assert ((study.place[:, :2] > 0) & (study.place[:, :2] < 1)).all()


@pytest.mark.parametrize(
    "change", [{"image_size": 96}, {"max_words": 32}, {"text": "other"}, {"image_weights": "other"}]
)
def test_another_encoder_or_setting_has_other_keys(
    cache: FeatureCache, config: EncoderConfig, tmp_path: Path, change: dict[str, int | str]
) -> None:
    made = {
        "text": lambda: write_bert(tmp_path / "bert", seed=5),
        "image_weights": lambda: write_torchvision(tmp_path / "other.safetensors", seed=5),
    }
    new = {name: str(made[name]()) if value == "other" else value for name, value in change.items()}

    other = FeatureCache(cache.shelf.folder, Encoders(config.model_copy(update=new)))

    assert other.key(b"the same") != cache.key(b"the same")


def test_the_same_content_has_the_same_key_wherever_it_lies(cache: FeatureCache, film: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    moved.write_bytes(film.read_bytes())

    assert cache.key(Source(moved).digest()) == cache.key(Source(film).digest())
    assert Source(moved.parent).digest() == Source(film).digest()


def test_a_study_with_a_file_more_or_less_has_another_digest(film: Path) -> None:
    one = Source(film.parent).digest()

    write(film.parent / "second.dcm", ramp(40, 48))

    assert Source(film.parent).digest() != one


def test_a_file_that_cannot_be_read_does_not_end_the_night(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Source(film).digest()

    def locked(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", locked)

    assert Source(film).digest() != sound


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.999])
def test_a_truncated_file_is_not_trusted_but_made_again(
    cache: FeatureCache, encoders: Encoders, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    note = encoders.encode_note(Note(NOTE))
    key = cache.key(NOTE.encode())
    cache.keep_note(key, note)
    (file,) = files(cache.shelf.folder)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])

    with caplog.at_level(logging.WARNING):
        assert cache.note(key) is None
    cache.keep_note(key, note)
    kept = cache.note(key)

    assert kept is not None
    assert torch.equal(kept.tokens, note.tokens)
    assert "damaged" in caplog.text
    assert str(cache.shelf.folder) not in caplog.text


def test_many_writers_at_once_leave_one_whole_file(cache: FeatureCache) -> None:
    key = cache.key(b"contested")
    notes = [
        EncodedNote(torch.full((2000, 64), float(i)).half(), torch.zeros(2000).short(), (), (), (str(i),))
        for i in range(4)
    ]
    start, seen = threading.Barrier(5), []

    def write_it(note: EncodedNote) -> None:
        start.wait()
        for _ in range(10):
            cache.keep_note(key, note)

    def read_it() -> None:
        start.wait()
        for _ in range(60):
            seen.append(cache.note(key))

    threads = [threading.Thread(target=write_it, args=(note,)) for note in notes] + [threading.Thread(target=read_it)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    seen.append(cache.note(key))
    whole = [note for note in seen if note is not None]
    assert whole
    assert seen[-1] is not None
    for note in whole:
        assert (note.tokens == float(note.remarks[0])).all()
    assert len(list(files(cache.shelf.folder))) == 1


def test_a_writer_that_dies_midway_spoils_nothing(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    key = cache.key(b"x")
    first = EncodedNote(torch.ones(2, 4).half(), torch.ones(2).short(), (), (), ())
    cache.keep_note(key, first)

    def die_midway(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"half of a fi")
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", die_midway)
    with pytest.raises(KeyboardInterrupt):
        cache.keep_note(key, first)

    kept = cache.note(key)
    assert kept is not None
    assert torch.equal(kept.tokens, first.tokens)
    assert len(list(files(cache.shelf.folder))) == 1


def test_a_writer_that_fails_leaves_nothing_behind(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)

    with pytest.raises(OSError, match="no space"):
        cache.keep_note(cache.key(b"x"), EncodedNote(torch.zeros(2, 4).half(), torch.zeros(2).short(), (), (), ()))
    assert list(files(cache.shelf.folder)) == []


def test_the_cache_holds_no_text_and_no_ids(cache: FeatureCache, encoders: Encoders, film: Path) -> None:
    cache.keep_study(cache.key(Source(film).digest()), encoders.encode_study(read_study(film, "CANARYID")))
    cache.keep_note(cache.key(NOTE.encode()), encoders.encode_note(Note(NOTE)))

    kept = list(files(cache.shelf.folder))
    assert len(kept) == 2
    for path in kept:
        content = str(path.relative_to(cache.shelf.folder)).encode() + path.read_bytes()
        for canary in (*CANARIES, "fever", "1.2.3", json.dumps(NOTE)[1:12]):
            assert canary.encode() not in content


@pytest.mark.parametrize("what", [b"{", b"{}", b"[]"])
def test_a_kept_study_whose_description_is_damaged_is_taken_away_and_made_again(
    cache: FeatureCache, encoders: Encoders, film: Path, what: bytes
) -> None:
    study, key = encoders.encode_study(read_study(film, "c1")), cache.key(b"damaged")
    cache.keep_study(key, study)
    path = cache.shelf.path(key)
    tensors = load_file(path)
    tensors["said"] = torch.frombuffer(bytearray(what), dtype=torch.uint8)
    save_file(tensors, path)

    assert cache.has(key)
    assert cache.study(key) is None
    assert not cache.has(key)


def test_what_was_cut_short_is_not_there(cache: FeatureCache, encoders: Encoders, film: Path) -> None:
    key = cache.key(b"cut")
    cache.keep_study(key, encoders.encode_study(read_study(film, "c1")))
    path = cache.shelf.path(key)
    whole = cache.has(key)
    path.write_bytes(path.read_bytes()[:-100])

    assert (whole, cache.has(key)) == (True, False)
