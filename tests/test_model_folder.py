"""A model is one folder: saved and loaded it says the same; damaged it is refused; nothing in it can run."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from medmm.case import Case, Image, Note, Record, Study
from medmm.config import EncoderConfig, RunConfig
from medmm.errors import ModelError
from medmm.explain.contribution import predict
from medmm.model.encode import Encoders
from medmm.model.folder import Model, build_network
from medmm.tensors import RecordBins
from tests.models import LABELS, card, cohort, fusion, random_model, randomise, write_bert, write_torchvision

SMALL = EncoderConfig(image_size=64)
TEXT_FILES = {".json", ".safetensors", ".txt", ".jinja"}


@dataclass(frozen=True)
class Saved:
    """A model folder, the model that was saved into it, and what it said."""

    folder: Path
    model: Model
    answers: Tensor


def case(case_id: str = "c1") -> Case:
    pixels = np.random.default_rng(3).random((90, 70), dtype=np.float32)
    return Case(
        case_id,
        "p1",
        Study((Image(pixels, "0" * 64, view="PA"), Image(pixels.T.copy(), "1" * 64, view="LL"))),
        Note("No fever, haemoptysis since 3 days."),
        Record({"age_years": 63.0, "sex": "female", "crp_mg_l": 41.0}),
    )


def parts() -> list[Case]:
    """The case, and the case without each of its modalities."""
    whole = case()
    return [whole, replace(whole, study=None), replace(whole, note=None), replace(whole, record=None)]


def answers(model: Model) -> Tensor:
    return model.log_odds([model.encode(part) for part in parts()])


def saved(folder: Path, run: RunConfig, *, multi_class: bool = False, record: bool = True) -> Saved:
    made = random_model(run, multi_class=multi_class, record=record)
    model = Model.save(folder, made.card, made.network, made.encoders)
    return Saved(folder, model, answers(model))


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return saved(tmp_path_factory.mktemp("models") / "embedded", RunConfig(encoders=SMALL, fusion=fusion()))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A model with its user's own encoders, whose files are gone since."""
    folder = tmp_path_factory.mktemp("own")
    weights = write_torchvision(folder / "resnet18.pth")
    bert = write_bert(folder / "bert")
    config = EncoderConfig(image="torchvision:resnet18", image_weights=str(weights), image_size=64, text=str(bert))
    model = saved(folder / "model", RunConfig(encoders=config, fusion=fusion("concat")), multi_class=True)
    weights.unlink()
    shutil.rmtree(bert)
    return model


@pytest.fixture
def copy(own: Saved, tmp_path: Path) -> Path:
    """The folder, to be spoilt."""
    return Path(shutil.copytree(own.folder, tmp_path / "copy"))


def refusal(folder: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        Model.load(folder)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value


def change_card(folder: Path, **changes: object) -> None:
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(content | changes))


def test_a_loaded_model_says_what_the_saved_one_said(embedded: Saved) -> None:
    loaded = Model.load(embedded.folder)

    torch.testing.assert_close(answers(loaded), embedded.answers, rtol=0, atol=1e-6)
    assert loaded.model_id == embedded.model.model_id
    assert embedded.answers.std(dim=0).min() > 1e-3  # the modalities matter to what is compared


def test_a_model_with_encoders_of_its_own_needs_no_other_file(own: Saved) -> None:
    loaded = Model.load(own.folder)

    torch.testing.assert_close(answers(loaded), own.answers, rtol=0, atol=1e-6)
    assert loaded.model_id == own.model.model_id
    assert own.answers.std(dim=0).min() > 1e-3


def test_a_folder_that_was_moved_is_the_same_model(own: Saved, copy: Path) -> None:
    assert Model.load(copy).model_id == own.model.model_id


def test_embedded_encoders_are_not_copied_into_the_folder(embedded: Saved) -> None:
    assert sorted(path.name for path in embedded.folder.iterdir()) == ["model.json", "network.safetensors"]


def test_nothing_in_a_folder_can_run(own: Saved) -> None:
    found = [path for path in own.folder.rglob("*") if path.is_file()]

    assert (own.folder / "image_encoder.safetensors") in found
    assert {path.suffix for path in found} <= TEXT_FILES
    for path in found:
        assert not path.read_bytes().startswith((b"\x80", b"PK"))  # a pickle, or torch's zip of pickles


def test_names_thresholds_and_edges_travel(own: Saved) -> None:
    loaded = Model.load(own.folder)

    assert loaded.labels == LABELS
    assert loaded.card == own.model.card
    assert loaded.bins == own.model.bins
    (prediction,) = predict(loaded, [loaded.encode(case())])
    assert [(f.label, f.threshold) for f in prediction.findings] == list(own.model.card.thresholds.items())


def test_saving_again_over_the_same_folder_replaces_the_model(embedded: Saved, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(embedded.folder, tmp_path / "again"))
    model = embedded.model
    other = build_network(model.card.cohort, model.card.run, model.encoders, model.bins)

    Model.save(folder, model.card, randomise(other, seed=9), model.encoders)

    loaded = Model.load(folder)
    assert loaded.model_id != embedded.model.model_id
    assert not torch.allclose(answers(loaded), embedded.answers)


def test_a_model_without_record_columns_travels_too(embedded: Saved, tmp_path: Path) -> None:
    encoders, run, described = embedded.model.encoders, embedded.model.card.run, cohort(record=False)
    network = randomise(build_network(described, run, encoders, RecordBins(described.record, {})))
    model = Model.save(tmp_path, card(run, described, encoders.digest), network, encoders)

    said = answers(model)

    torch.testing.assert_close(answers(Model.load(tmp_path)), said, rtol=0, atol=1e-6)
    assert said.isfinite().all()


@pytest.mark.parametrize("name", ["model.json", "network.safetensors", "image_encoder.safetensors", "text_encoder"])
def test_a_folder_that_lacks_a_file_is_refused(copy: Path, name: str) -> None:
    shutil.rmtree(copy / name) if name == "text_encoder" else (copy / name).unlink()

    refusal(copy)


@pytest.mark.parametrize(
    "name",
    [
        "model.json",
        "network.safetensors",
        "image_encoder.safetensors",
        "text_encoder/model.safetensors",
        "text_encoder/config.json",
        "text_encoder/tokenizer.json",
    ],
)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_folder_with_a_truncated_file_is_refused(copy: Path, name: str, share: float) -> None:
    file = copy / name
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])

    refusal(copy)


def test_what_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{}")

    assert "is not a model folder" in refusal(tmp_path).problem
    assert "is not a model folder" in refusal(tmp_path / "nowhere").problem
    assert "is not a model folder" in refusal(tmp_path / "file").problem


@pytest.mark.parametrize("name", ["image_encoder.safetensors", "text_encoder/model.safetensors"])
def test_an_encoder_that_was_exchanged_is_refused(copy: Path, name: str) -> None:
    weights = load_file(copy / name)
    first = next(iter(weights))
    weights[first] = weights[first] + 1
    save_file(weights, copy / name, metadata={"format": "pt"})

    assert "not those that the model was trained with" in refusal(copy).problem


def test_a_vocabulary_that_was_exchanged_is_refused(copy: Path) -> None:
    tokenizer = copy / "text_encoder" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"fever"', '"cancer"'))

    assert "not those that the model was trained with" in refusal(copy).problem


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 1},
        {"thresholds": {}},
        {"thresholds": {"effusion": 0.5, "nodule": 0.5, "other": 0.5}},
        {"record_edges": {}},
        {"record_edges": {"age_years": [0, 1], "crp_mg_l": [0, 1]}},
        {"cohort": {}},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_card_that_does_not_fit_together_is_refused(copy: Path, changes: dict[str, object]) -> None:
    change_card(copy, **changes)

    refusal(copy)


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    weights = load_file(copy / "network.safetensors")
    weights["shift"] = torch.zeros(8, 5)
    save_file(weights, copy / "network.safetensors")

    assert "another shape" in refusal(copy).problem


def test_a_card_that_names_other_encoders_is_refused(copy: Path) -> None:
    run = json.loads((copy / "model.json").read_text())["run"]
    run["encoders"]["image_size"] = 96

    change_card(copy, run=run)

    assert "not those that the model was trained with" in refusal(copy).problem


def test_a_case_is_answered_the_same_alone_or_among_others(own: Saved) -> None:
    alone = torch.cat([own.model.log_odds([own.model.encode(part)]) for part in parts()])

    torch.testing.assert_close(alone, own.answers, rtol=0, atol=1e-5)


def test_a_card_says_what_the_digest_of_its_encoders_is(own: Saved) -> None:
    assert Encoders(own.model.card.run.encoders, own.folder).digest == own.model.card.encoders
