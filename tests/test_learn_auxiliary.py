"""Each side is asked alone while attention is learnt; in use nothing is left of that but what it taught."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from medmm.config import TrainingConfig
from medmm.judge.metrics import auroc
from medmm.learn.auxiliary import Auxiliary
from medmm.learn.fit import Epoch, Examples, infer
from medmm.learn.stage import Stage
from medmm.model.fusion import Fusion
from tests.cohorts import planted_cases
from tests.models import LABELS, WIDTHS, fusion

SIDES = {"image": 1, "note": 2, "record": 3}
"""Where the answers of each side stand, behind those of all together."""


def learner(*, multi_class: bool = False, modalities: tuple[str, ...] = tuple(SIDES)) -> Auxiliary:
    torch.manual_seed(0)
    made = Auxiliary(
        Fusion(WIDTHS, len(LABELS), multi_class, fusion(dropout=0, modality_dropout=0, modalities=modalities))
    )
    for readout in made.read.parameters():
        torch.nn.init.normal_(readout)
    return made.train()


def answers(made: Auxiliary, examples: Examples) -> Tensor:
    with torch.no_grad():
        return torch.as_tensor(made(examples.batch(range(len(examples)))[0]))


@pytest.mark.parametrize("side", SIDES)
def test_a_side_is_asked_alone_whatever_the_others_and_the_heads_say(side: str) -> None:
    made, cases, others = learner(), planted_cases(8, seed=1), planted_cases(8, seed=2)
    own = {"image": ("image", "place"), "note": ("note", "terms"), "record": ("record", "taken")}[side]
    mixed = tuple(
        replace(other, **{name: getattr(case, name) for name in own})
        for case, other in zip(cases.features, others.features, strict=True)
    )
    loud = torch.full((8, 3, len(LABELS)), 5.0)

    said, beside_others = answers(made, cases), answers(made, replace(cases, features=mixed, heard=loud))

    for name, place in SIDES.items():
        assert torch.allclose(said[:, place], beside_others[:, place], atol=1e-6) == (name == side)


def test_of_a_side_that_is_absent_or_not_used_nothing_is_asked() -> None:
    cases = planted_cases(40, missing=0.4)
    batch, targets = cases.batch(range(40))

    asked = learner(modalities=("image", "note")).asked(batch, targets)

    assert torch.equal(asked[:, 0], targets)
    assert torch.equal(~asked[:, SIDES["image"]].isnan().any(dim=1), cases.present[:, 0])
    assert torch.equal(~asked[:, SIDES["note"]].isnan().any(dim=1), cases.present[:, 1])
    assert asked[:, SIDES["record"]].isnan().all()


@pytest.mark.parametrize("multi_class", [False, True])
def test_every_side_has_learnt_to_speak_and_in_use_only_all_together_do(tmp_path: Path, multi_class: bool) -> None:
    made = learner(multi_class=multi_class)
    train, test = (
        planted_cases(count, seed, multi_class=multi_class, missing=0.2) for count, seed in ((160, 1), (80, 2))
    )
    config = TrainingConfig(epochs=8, patience=8, batch_size=16)

    def silent(name: str, epoch: Epoch) -> None:
        """Nobody listens."""

    Stage("interaction", tmp_path, silent).run(made, train, test, config, multi_class)

    said = answers(made.train(), test)
    for i, place in enumerate(SIDES.values()):
        has = test.present[:, i].numpy()
        assert auroc(test.targets[has, 0].numpy(), said[has, place, 0].numpy()) > 0.75
    assert torch.equal(infer(made, test), infer(made.body, test))
    assert infer(made, test).shape == test.targets.shape
