"""Training cases like the one that is asked about: other patients', nearest first, compared over what the case has."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medmm.errors import ModelError
from medmm.explain.similar import Memory
from medmm.model.batch import PLACE, Features, collate
from medmm.model.folder import Model
from medmm.model.fusion import Fusion
from tests.models import LABELS, fusion, model_without_encoders, random_case, random_network

CASES = 40


@pytest.fixture
def model() -> Model:
    return model_without_encoders(random_network(fusion()))


def training_cases() -> list[Features]:
    """Every fourth has no image, every fifth no note, every seventh no record."""
    return [
        random_case(100 + i, patches=5 * (i % 4 != 3), words=7 * (i % 5 != 4), record=i % 7 != 6) for i in range(CASES)
    ]


def said_of(model: Model, cases: list[Features]) -> np.ndarray:
    body = model.network.body
    assert isinstance(body, Fusion)
    with torch.inference_mode():
        return body.said(collate(cases)).numpy()


def remember(model: Model, cases: list[Features], patients: list[str] | None = None, seed: int = 0) -> Memory:
    targets = np.resize([1.0, 0.0, np.nan], (len(cases), len(LABELS)))
    return Memory.build(
        said_of(model, cases),
        np.array([case.present for case in cases]),
        targets,
        [case.case_id for case in cases],
        patients or [f"patient {i}" for i in range(len(cases))],
        seed=seed,
    )


def without_image(case: Features) -> Features:
    return replace(case, image=case.image[:0], place=torch.zeros(0, PLACE))


def test_a_training_case_is_nearest_to_itself_and_the_rest_follow_by_distance(model: Model) -> None:
    cases = training_cases()

    found = remember(model, cases).nearest(model, cases[8], "a new patient", count=10)

    distances = [one.distance for one in found]
    assert found[0].case_id == cases[8].case_id
    assert distances[0] == pytest.approx(0, abs=1e-5)
    assert distances == sorted(distances)
    assert distances[1] > 0.01


def test_no_case_of_the_same_patient_is_given(model: Model) -> None:
    cases = training_cases()
    patients = ["the same" if i % 2 else f"patient {i}" for i in range(CASES)]

    found = remember(model, cases, patients).nearest(model, cases[1], "the same", count=CASES)

    assert found
    assert not {one.case_id for one in found} & {case.case_id for case in cases[1::2]}


def test_only_cases_that_have_the_same_sides_are_given(model: Model) -> None:
    cases = training_cases()

    found = remember(model, cases).nearest(model, random_case(1), "", count=CASES)

    assert {one.case_id for one in found} == {case.case_id for case in cases if all(case.present)}


def test_a_case_without_an_image_is_compared_without_the_image(model: Model) -> None:
    cases = training_cases()
    blind = [without_image(case) for case in cases]
    asked = without_image(random_case(1))

    seen = remember(model, cases).nearest(model, asked, "", count=CASES)

    assert any(case.present[0] for case in cases if case.case_id in {one.case_id for one in seen})
    assert seen == remember(model, blind).nearest(model, asked, "", count=CASES)


def test_a_case_with_nothing_is_like_no_case(model: Model) -> None:
    nothing = random_case(1, patches=0, words=0, record=False)

    assert remember(model, [*training_cases(), nothing]).nearest(model, nothing, "") == ()


def test_equally_near_cases_come_in_the_order_of_their_ids(model: Model) -> None:
    twins = [replace(random_case(7), case_id=name) for name in ("d", "a", "c", "b")]

    found = remember(model, [*training_cases(), *twins]).nearest(model, random_case(7), "", count=4)

    assert [one.case_id for one in found] == ["a", "b", "c", "d"]


def test_labels_are_those_of_the_case_and_not_stated_is_neither(model: Model) -> None:
    found = remember(model, training_cases()).nearest(model, random_case(1), "", count=2)

    assert [one.labels for one in found] == [{"effusion": True, "nodule": False, "oedema": None}] * 2


def test_a_label_that_speaks_louder_does_not_count_for_more(model: Model) -> None:
    cases = training_cases()
    body = model.network.body
    assert isinstance(body, Fusion)
    body.rule.stack_weight.copy_(torch.eye(len(LABELS)).expand_as(body.rule.stack_weight))
    before = remember(model, cases).nearest(model, random_case(1), "", count=CASES)

    body.rule.stack_weight[..., 1, 1] *= 100

    after = remember(model, cases).nearest(model, random_case(1), "", count=CASES)
    assert [one.case_id for one in after] == [one.case_id for one in before]


def test_a_side_that_the_fusion_does_not_weigh_does_not_count(model: Model) -> None:
    cases = training_cases()
    body = model.network.body
    assert isinstance(body, Fusion)
    body.rule.stack_weight[:, 0] = 0
    other_image = replace(cases[8], image=-3 * cases[8].image)

    found = remember(model, cases).nearest(model, other_image, "")

    assert found[0].case_id == cases[8].case_id
    assert found[0].distance == pytest.approx(0, abs=1e-5)


def test_a_model_without_heads_has_no_memory(model: Model) -> None:
    textbook = model_without_encoders(random_network(fusion("concat")))

    with pytest.raises(ModelError, match="memory"):
        remember(model, training_cases()).nearest(textbook, random_case(1), "")


def test_what_is_saved_is_what_is_loaded_and_no_patient_id_is_in_the_file(model: Model, tmp_path: Path) -> None:
    cases = training_cases()
    patients = [f"PAT-{i:05d}" for i in range(CASES)]
    memory = remember(model, cases, patients)

    memory.save(tmp_path / "memory.safetensors")

    loaded = Memory.load(tmp_path / "memory.safetensors")
    for patient in ("PAT-00008", "somebody else"):
        assert loaded.nearest(model, cases[8], patient) == memory.nearest(model, cases[8], patient)
    assert b"PAT-" not in (tmp_path / "memory.safetensors").read_bytes()


def test_the_same_patient_has_another_digest_in_another_file(model: Model) -> None:
    cases = training_cases()

    one, same, other = (remember(model, cases, seed=seed) for seed in (0, 0, 1))

    np.testing.assert_array_equal(one.patients, same.patients)
    assert not (one.patients == other.patients).all(axis=1).any()


@pytest.mark.parametrize("content", [b"", b"not a file of tensors", None])
def test_a_damaged_file_says_so_and_what_to_do(model: Model, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "memory.safetensors"
    remember(model, training_cases()).save(path)
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)

    with pytest.raises(ModelError, match=r"memory\.safetensors is damaged.*Copy the folder again"):
        Memory.load(path)


def test_a_memory_of_another_model_is_refused(model: Model) -> None:
    memory = remember(model, training_cases())
    other = replace(memory, targets=memory.targets[:, :2])

    with pytest.raises(ModelError, match="other labels"):
        other.nearest(model, random_case(1), "")
