"""What pretraining promises: what it leaves is an encoder that `train` takes, and no label and no identity is in it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from torch import Tensor
from typer.testing import CliRunner, Result

from medmm.case import Image, Note, Study
from medmm.config import EncoderConfig, RunConfig
from medmm.errors import CohortError, ConfigError, DataError, ModelError
from medmm.learn.course import Course
from medmm.learn.pretrain.images import Square, contrast, pretrain_images, squares_of, views
from medmm.learn.pretrain.notes import MaskedWords, pieces_of, pretrain_notes
from medmm.learn.pretrain.pairs import Pair, pretrain_pairs
from medmm.learn.pretrain.source import notes_in_files, notes_of, read_unlabelled
from medmm.model.folder import Model
from medmm.model.image_networks import load_image_encoder
from medmm.model.text_encoder import load_text_encoder
from pipelines.cli import app
from pipelines.pretrain import seconds
from tests.cohorts import copy_cohort, table, write_table
from tests.models import fusion, random_model
from tests.pretraining import SIZE, Diary, dials, encoders, notes, squares, write_run

COURSE = Course(epochs=2, learning_rate=5e-3, batch_size=16)
NOTE = Note("no fever since 3 days")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EncoderConfig:
    return dials(tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="module")
def taught_images(config: EncoderConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `pretrain images`; nobody may write into it."""
    folder = tmp_path_factory.mktemp("images") / "taught"
    pretrain_images(load_image_encoder(config), squares(), COURSE, folder, Diary())
    return folder


def film() -> Image:
    return Image(np.random.default_rng(0).random((40, 30), dtype=np.float32), "0" * 64)


def from_folder(config: EncoderConfig, folder: Path) -> EncoderConfig:
    return config.model_copy(update={"image": str(folder), "image_weights": ""})


# --- notes ---


def test_a_text_encoder_that_was_taught_is_taken_and_is_another_one(config: EncoderConfig, tmp_path: Path) -> None:
    before = load_text_encoder(config)

    pretrain_notes(load_text_encoder(config), notes(), COURSE, tmp_path, Diary())

    after = load_text_encoder(config.model_copy(update={"text": str(tmp_path)}))
    assert after.digest != before.digest
    assert after.encode(NOTE).tokens.shape == before.encode(NOTE).tokens.shape
    assert not torch.allclose(after.encode(NOTE).tokens, before.encode(NOTE).tokens, atol=1e-3)
    assert not [name for name in after.network.state_dict() if "lora" in name]


def test_hidden_words_are_told_better_than_by_chance(config: EncoderConfig, tmp_path: Path) -> None:
    hard = replace(COURSE, epochs=40, patience=40, learning_rate=1e-2)

    epochs = pretrain_notes(load_text_encoder(config), notes(120), hard, tmp_path, Diary())

    assert min(epoch.held_out_loss for epoch in epochs) < 0.6 * math.log(19)


def test_the_same_seed_leaves_the_same_text_encoder_and_another_seed_another(
    config: EncoderConfig, tmp_path: Path
) -> None:
    def digest(name: str, seed: int) -> str:
        course = replace(COURSE, seed=seed, epochs=1)
        pretrain_notes(load_text_encoder(config), notes(), course, tmp_path / name, Diary())
        return load_text_encoder(config.model_copy(update={"text": str(tmp_path / name)})).digest

    assert digest("one", 0) == digest("same", 0) != digest("other", 1)


def test_only_adapters_and_the_head_learn(config: EncoderConfig) -> None:
    network = MaskedWords(load_text_encoder(config))

    learns = {name for name, p in network.named_parameters() if p.requires_grad}

    assert {"lora" in name for name in learns if ".bert." in name} == {True}
    assert any(".cls." in name for name in learns)


def test_nothing_of_a_long_note_is_cut(config: EncoderConfig) -> None:
    encoder = load_text_encoder(config)

    pieces = pieces_of(encoder, "cough since 3 days , " * 10)

    assert all(len(piece) <= 16 for piece in pieces)
    assert sum(len(piece) - 2 for piece in pieces) == 50


def test_a_batch_in_which_no_word_is_hidden_has_no_loss(config: EncoderConfig) -> None:
    network = MaskedWords(load_text_encoder(config))
    ids = torch.tensor(pieces_of(load_text_encoder(config), NOTE.text))

    assert network(ids, torch.ones_like(ids), torch.full_like(ids, -100)) == 0


# --- images ---


def test_an_image_encoder_that_was_taught_is_taken_and_is_another_one(
    config: EncoderConfig, taught_images: Path
) -> None:
    before, after = load_image_encoder(config), load_image_encoder(from_folder(config, taught_images))

    assert after.digest != before.digest
    assert after.width == before.width
    assert not torch.allclose(after.encode(film()).tokens, before.encode(film()).tokens, atol=1e-3)


def test_only_the_tail_learns_and_no_statistics_move(config: EncoderConfig, taught_images: Path) -> None:
    before, after = load_image_encoder(config), load_image_encoder(from_folder(config, taught_images))

    moved = {
        name for name, value in after.whole.state_dict().items() if not value.equal(before.whole.state_dict()[name])
    }

    assert all(value.equal(before.trunk.state_dict()[name]) for name, value in after.trunk.state_dict().items())
    assert moved
    assert not [name for name in moved if "running" in name or "tracked" in name]


def test_the_card_says_what_was_taught_and_where_it_came_from(config: EncoderConfig, taught_images: Path) -> None:
    card = json.loads((taught_images / "encoder.json").read_text())

    assert (card["architecture"], card["size"], card["images"]) == ("torchvision:mobilenet_v3_small", SIZE, 40)
    assert card["made_from"] == load_image_encoder(config).digest


def test_the_embedded_image_encoder_can_be_taught_and_taught_again(tmp_path: Path) -> None:
    once, short = replace(COURSE, epochs=1), squares(4)
    first = EncoderConfig(image_size=SIZE)

    pretrain_images(load_image_encoder(first), short, once, tmp_path / "one", Diary())
    second = from_folder(first, tmp_path / "one")
    pretrain_images(load_image_encoder(second), short, once, tmp_path / "two", Diary())

    third = load_image_encoder(from_folder(first, tmp_path / "two"))
    assert third.architecture == "embedded:efficientnet-lite0"
    assert len({load_image_encoder(first).digest, load_image_encoder(second).digest, third.digest}) == 3


def test_a_model_keeps_an_encoder_that_was_taught(config: EncoderConfig, taught_images: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(taught_images, tmp_path / "taught"))
    made = random_model(RunConfig(encoders=from_folder(config, folder), fusion=fusion()))
    Model.save(tmp_path / "model", made.card, made.network, made.encoders)
    expected = made.encoders.image.encode(film()).tokens

    shutil.rmtree(folder)

    loaded = Model.load(tmp_path / "model")
    assert torch.equal(loaded.encoders.image.encode(film()).tokens, expected)
    assert loaded.encoders.digest == made.card.encoders


def spoil_weights(folder: Path) -> None:
    weights = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(weights[:-4] + b"\0\0\1\1")


def spoil_card(folder: Path) -> None:
    (folder / "encoder.json").write_text("{}")


def lose_weights(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_weights, "is not the file that encoder.json names"),
        (spoil_card, "is no image encoder"),
        (lose_weights, "is no image encoder"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(
    config: EncoderConfig, taught_images: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    folder = Path(shutil.copytree(taught_images, tmp_path / "spoilt"))
    spoil(folder)

    with pytest.raises(ModelError, match=said):
        load_image_encoder(from_folder(config, folder))


def test_other_weights_beside_a_folder_are_refused(config: EncoderConfig, taught_images: Path) -> None:
    with pytest.raises(ModelError, match="weights of its own"):
        load_image_encoder(config.model_copy(update={"image": str(taught_images)}))


def test_a_photograph_may_be_mirrored_and_a_radiograph_never() -> None:
    draw = np.random.default_rng(0)
    grey, colour = (draw.random(shape, dtype=np.float32) for shape in ((20, 20), (20, 20, 3)))
    pictures = [
        Image(grey, "0" * 64, modality="DX"),
        Image(colour, "1" * 64, modality="XC"),
        Image(colour, "2" * 64, modality="DX"),
        Image(grey, "3" * 64, modality="OT"),
    ]

    made = [square.mirrored for square in squares_of(Study(tuple(pictures)), "patient", SIZE, 4)]

    assert made == [False, True, False, False]


def test_views_of_a_radiograph_keep_left_where_it_is() -> None:
    pixels = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
    pixels[:, :, : SIZE // 4] = 200
    vary = views()

    for _ in range(30):
        view = vary(Square("patient", pixels, mirrored=False)).float()
        assert view[:, :, : SIZE // 2].mean() > view[:, :, SIZE // 2 :].mean()


def test_a_square_is_kept_in_eight_bits() -> None:
    (square,) = squares_of(Study((film(),)), "patient", SIZE, 4)

    assert square.pixels.dtype == torch.uint8
    assert square.pixels.shape == (1, SIZE, SIZE)


def test_those_that_are_alike_are_no_wrong_answers() -> None:
    similarity, answer = torch.tensor([[0.5, 0.9], [0.9, 0.5]]), torch.tensor([0, 1])

    apart = contrast(similarity, answer, torch.eye(2, dtype=torch.bool))
    alike = contrast(similarity, answer, torch.ones(2, 2, dtype=torch.bool))

    assert apart > 1
    assert alike == 0


# --- pairs ---


def paired(patients: int = 24) -> list[Pair]:
    """Dark pictures of coughs, bright ones of fevers."""

    def pixels(i: int) -> Tensor:
        draw = torch.randint(40, (1, SIZE, SIZE), generator=torch.Generator().manual_seed(i))
        return (draw + 200 * (i % 2)).to(torch.uint8)

    return [
        Pair((Square(f"patient-{i}", pixels(i), mirrored=False),), ("cough", "no fever")[i % 2])
        for i in range(patients)
    ]


def test_both_encoders_of_pairs_are_taken_and_are_others(config: EncoderConfig, tmp_path: Path) -> None:
    image, text = encoders(config)
    digests = image.digest, text.digest

    pretrain_pairs(image, text, paired(), replace(COURSE, epochs=1), tmp_path, Diary())

    taught = from_folder(config, tmp_path / "image").model_copy(update={"text": str(tmp_path / "text")})
    assert all(one.digest != digest for one, digest in zip(encoders(taught), digests, strict=True))


def test_pairs_learn_which_note_belongs_to_which_image(config: EncoderConfig, tmp_path: Path) -> None:
    image, text = load_image_encoder(EncoderConfig(image_size=SIZE)), load_text_encoder(config)
    course = replace(COURSE, epochs=5, patience=5, learning_rate=2e-3)

    epochs = pretrain_pairs(image, text, paired(60), course, tmp_path, Diary())

    assert epochs[-1].held_out_loss < 0.5 * math.log(2)  # of two notes one is as likely as the other


# --- what is read ---


def test_answers_are_not_read(sample: Path, tmp_path: Path) -> None:
    def spoil(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [
            {name: "9" if cell in ("0", "1") and name != "case_id" else cell for name, cell in r.items()} for r in rows
        ]

    cohort = read_unlabelled(copy_cohort(sample, tmp_path / "cohort", spoil))

    assert cohort.labels == ()
    assert not any(row.targets for row in cohort.rows)
    assert [note for _, note in notes_of(cohort)] == [note for _, note in notes_of(read_unlabelled(sample))]


def test_sections_that_state_the_answer_are_left_out_of_a_cohort(sample: Path, tmp_path: Path) -> None:
    def say(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [row | {"note": "INDICATION: cough.\nIMPRESSION: pneumonia."} for row in rows]

    said = [note for _, note in notes_of(read_unlabelled(copy_cohort(sample, tmp_path / "cohort", say)))]

    assert said
    assert not any(isinstance(note, DataError) or "pneumonia" in note.text for note in said)


def test_test_patients_of_a_run_are_left_out_with_all_their_cases(sample: Path, tmp_path: Path) -> None:
    rows = table(sample / "cases.csv")
    patient = rows[0]["patient_id"]
    write_table(
        tmp_path / "split.csv",
        [{"case_id": row["case_id"], "part": "test" if i == 0 else "train"} for i, row in enumerate(rows)],
    )

    left = read_unlabelled(sample, tmp_path).rows

    assert {row.patient_id for row in left} == {row["patient_id"] for row in rows} - {patient}


@pytest.mark.parametrize(
    ("part", "case", "said"),
    [
        ("test", "stranger", "was made from other cases"),
        ("train", "stranger", "keeps no patients for its test"),
        ("", "", "holds no split.csv"),
    ],
)
def test_a_run_that_does_not_belong_here_leaves_nobody_out(
    sample: Path, tmp_path: Path, part: str, case: str, said: str
) -> None:
    if part:
        write_table(tmp_path / "split.csv", [{"case_id": case, "part": part}])

    with pytest.raises(ConfigError, match=said):
        read_unlabelled(sample, tmp_path)


def test_files_are_read_whole_and_one_that_is_not_text_is_set_aside_without_its_name(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "Doe.txt").write_text("INDICATION: cough.\nIMPRESSION: pneumonia.")
    (tmp_path / "Roe.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.txt").write_text(" \n")

    refused, read = (answer for _, answer in notes_in_files(tmp_path))

    assert isinstance(refused, DataError)
    assert "Roe" not in str(refused)
    assert isinstance(read, Note)
    assert "pneumonia" in read.text


# --- the command ---


def medmm(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve patients with a photograph and a note each."""
    folder = tmp_path_factory.mktemp("cohort")
    draw, rows = np.random.default_rng(0), []
    for i in range(12):
        (folder / f"study{i}").mkdir()
        Picture.fromarray(draw.integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(folder / f"study{i}" / "1.png")
        note = f"no fever since {i} days, told by Mr Doe"
        rows.append({"case_id": f"c{i}", "patient_id": f"secret-{i}", "study": f"study{i}", "note": note})
    write_table(folder / "cases.csv", rows)
    return folder


@pytest.fixture(scope="module")
def run_toml(config: EncoderConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names the small encoders."""
    return write_run(tmp_path_factory.mktemp("run") / "run.toml", config)


@pytest.mark.parametrize("kind", ["notes", "images", "pairs"])
def test_each_command_leaves_what_run_toml_takes_and_says_the_line(
    kind: str, cohort: Path, run_toml: Path, config: EncoderConfig, tmp_path: Path
) -> None:
    out = tmp_path / "taught"
    workers = [] if kind == "notes" else ["--workers", 1]

    done = medmm("pretrain", kind, cohort, "--out", out, "--config", run_toml, "--epochs", 1, *workers)

    assert done.exit_code == 0, done.output
    place = {"notes": {"text": out}, "images": {"image": out}, "pairs": {"image": out / "image", "text": out / "text"}}
    for side, folder in place[kind].items():
        assert f'{side} = "{folder}"' in done.stdout
    taken = {side: str(folder) for side, folder in place[kind].items()}
    encoders(config.model_copy(update=taken | ({"image_weights": ""} if "image" in taken else {})))


def test_no_patient_and_no_note_is_in_what_is_written(cohort: Path, run_toml: Path, tmp_path: Path) -> None:
    out = tmp_path / "taught"

    done = medmm("pretrain", "pairs", cohort, "--out", out, "--config", run_toml, "--epochs", 1, "--workers", 1)

    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) > 5
    for content in (done.output.encode(), *(path.read_bytes() for path in files)):
        assert b"secret-" not in content
        assert b"Doe" not in content
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".txt", ".jinja"}


def test_a_folder_without_texts_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    done = medmm("pretrain", "notes", tmp_path / "empty", "--out", tmp_path / "out")

    assert done.exit_code == 3
    assert done.stderr.count("\n") == 1
    assert "holds no note" in done.stderr


@pytest.mark.parametrize(("said", "expected"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_a_budget_is_written_as_people_write_it(said: str, expected: float) -> None:
    assert seconds(said) == expected


@pytest.mark.parametrize("said", ["10", "m", "0m", "-1m", "ten minutes"])
def test_a_budget_that_is_no_time_is_refused(said: str) -> None:
    with pytest.raises(ConfigError, match="is no time"):
        seconds(said)


def test_one_patient_is_too_few(config: EncoderConfig, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="two patients"):
        pretrain_images(load_image_encoder(config), squares(1), COURSE, tmp_path, Diary())
