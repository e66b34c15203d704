"""How a film happens to be stored must not change what the model says of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medmm.case import Case
from medmm.config import EncoderConfig, RunConfig
from medmm.model.folder import Model
from medmm.read.dicom.study import read_study
from sample_data.dicom import TRANSFER_SYNTAXES, write_film
from sample_data.film import Film, make_film
from tests.models import fusion, random_model


@pytest.fixture(scope="module")
def film() -> Film:
    return make_film(np.random.default_rng(5), ["consolidation"])


@pytest.fixture(scope="module")
def model() -> Model:
    """Embedded encoders, and a random network that has something to say of every film."""
    return random_model(RunConfig(encoders=EncoderConfig(image_size=160), fusion=fusion()))


def answer(model: Model, film: Film, path: Path, syntax: str, *, monochrome1: bool) -> Tensor:
    write_film(path, film, monochrome1=monochrome1, transfer_syntax=syntax)
    return model.log_odds([model.encode(Case("c1", "p1", read_study(path, "c1")))])


@pytest.fixture(scope="module")
def reference(model: Model, film: Film, tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    path = tmp_path_factory.mktemp("reference") / "film.dcm"
    return answer(model, film, path, TRANSFER_SYNTAXES[0], monochrome1=False)


@pytest.mark.parametrize("monochrome1", [False, True], ids=["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_the_same_film_gets_the_same_answer_however_it_is_stored(
    model: Model, film: Film, reference: Tensor, tmp_path: Path, syntax: str, monochrome1: bool
) -> None:
    got = answer(model, film, tmp_path / "film.dcm", syntax, monochrome1=monochrome1)

    torch.testing.assert_close(got, reference, rtol=0, atol=1e-5)


def test_another_film_gets_another_answer(model: Model, reference: Tensor, tmp_path: Path) -> None:
    other = make_film(np.random.default_rng(6), ["nodule"])

    got = answer(model, other, tmp_path / "film.dcm", TRANSFER_SYNTAXES[0], monochrome1=False)

    assert (got - reference).abs().max() > 0.01


def test_a_film_shown_as_its_negative_gets_another_answer(
    model: Model, film: Film, reference: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "film.dcm"
    negative = Film(4095 - film.pixels, (4096 - film.window[0], film.window[1]), film.spacing_mm, film.view)

    got = answer(model, negative, path, TRANSFER_SYNTAXES[0], monochrome1=False)

    assert (got - reference).abs().max() > 0.01
