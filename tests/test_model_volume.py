"""Volumes and prior studies through the encoders: what moves, what does not, and where a token lies."""

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from medmm.case import Case, Image, Note, Study, Volume
from medmm.config import CohortConfig, EncoderConfig, RunConfig
from medmm.errors import ModelError
from medmm.explain.contribution import predict
from medmm.explain.explanation import explain
from medmm.model.batch import DEPTH, KIND, PRIOR, Features, collate
from medmm.model.cache import FeatureCache
from medmm.model.encode import EncodedStudy, Encoders
from medmm.model.folder import Model, build_network
from medmm.model.heads import Widths
from medmm.model.volume_encoder import VolumeEncoder, load_volume_encoder
from medmm.read.cohort import CaseRow, Cohort
from medmm.score import here
from medmm.score.cohort import score_cohort
from medmm.score.here import in_process
from medmm.score.reading import Read
from medmm.slices import Picture, depths, slice_images, spread_slices
from medmm.store.store import Store
from medmm.tensors import BINS, RecordBins, volume_tensor
from tests.models import card, cohort, fusion, random_case, random_network, randomise, write_bert, write_torchvision
from tests.volumes import EVEN, ball, cine, write_monai

SIZE = 32
OFFSETS = {
    "even": EVEN,
    "gap": [2.5 * i for i in range(24) if i not in (9, 10)],
    "thick": [7.5 * i for i in range(9)],
    "thin": [0.5 * i for i in range(121)],
    "drifting": [2.0 * i + 0.03 * i * i for i in range(25)],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    write_torchvision(folder / "resnet18.safetensors")
    write_bert(folder / "bert")
    write_monai(folder / "resnet10.safetensors")
    return folder


def config(folder: Path, **dials: Any) -> EncoderConfig:
    known = {
        "image": "torchvision:resnet18",
        "image_weights": str(folder / "resnet18.safetensors"),
        "image_size": 64,
        "text": str(folder / "bert"),
        "volume_size": SIZE,
        "volume_slices": 4,
    }
    return EncoderConfig.model_validate(known | dials)


@pytest.fixture(scope="module")
def flat(folder: Path) -> Encoders:
    """Volumes slice by slice."""
    return Encoders(config(folder))


@pytest.fixture(scope="module")
def deep(folder: Path) -> Encoders:
    """Volumes as volumes."""
    return Encoders(config(folder, volume="monai:resnet10", volume_weights=str(folder / "resnet10.safetensors")))


def solid(encoders: Encoders) -> VolumeEncoder:
    assert encoders.volume is not None
    return encoders.volume


def film(seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).random((50, 40)).astype(np.float32), f"{seed:064x}", view="PA")


def same(got: EncodedStudy, expected: EncodedStudy) -> None:
    torch.testing.assert_close(got.tokens, expected.tokens, rtol=0, atol=2e-3)
    torch.testing.assert_close(got.place, expected.place)


# --- the shape of a volume ---


def extents(cube: Tensor) -> list[float]:
    """How far what is bright reaches along each axis, in voxels, by its mass at half its brightness."""
    bright = cube[0] > 0.25
    return [float(bright.any(dim=[a for a in range(3) if a != axis]).sum()) for axis in range(3)]


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("slices", OFFSETS)
def test_a_ball_stays_round(slices: str, plane: str) -> None:
    cube, placed = volume_tensor(ball(OFFSETS[slices], plane=plane), 60)

    length = max(max(OFFSETS[slices]) + np.median(np.diff(OFFSETS[slices])), 60)
    expected = 40 * 60 / length
    coarse = max(2.0, np.diff(OFFSETS[slices]).max() * 60 / length)  # a slice may just miss the ball's end
    for axis, reach in enumerate(extents(cube)):
        assert reach == pytest.approx(expected, abs=coarse if axis == placed.slices.axis else 2.0)
    assert cube.shape == (1, 60, 60, 60)
    assert cube.dtype == torch.float32
    assert type(cube) is torch.Tensor


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_axes_go_to_the_right_the_front_and_the_head(plane: str) -> None:
    corner = ball(plane=plane, centre_mm=(5, 5, 5), radius_mm=12)  # low L, P and S: right, front and feet

    cube, _ = volume_tensor(corner, 40)

    where = (cube[0] > 0.25).nonzero().float().mean(dim=0) / 40
    right, front, head = where.tolist()
    assert right > 0.5
    assert front > 0.5
    assert head < 0.5


def flipped(volume: Volume, axis: int) -> Volume:
    """The same patient, stored with one axis the other way round."""
    assert volume.affine is not None
    affine = volume.affine.copy()
    column = 2 - axis
    affine[:3, 3] += affine[:3, column] * (volume.voxels.shape[axis] - 1)
    affine[:3, column] *= -1
    offsets = tuple(volume.offsets_mm[-1] - o for o in reversed(volume.offsets_mm)) if axis == 0 else volume.offsets_mm
    return replace(volume, voxels=np.flip(volume.voxels, axis).copy(), affine=affine, offsets_mm=offsets)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("size", [31, 40])
def test_a_volume_stored_the_other_way_round_gives_the_same_cube(axis: int, size: int) -> None:
    volume = ball(OFFSETS["even"], centre_mm=(20, 25, 18), radius_mm=11)

    cube, _ = volume_tensor(flipped(volume, axis), size)

    torch.testing.assert_close(cube, volume_tensor(volume, size)[0], rtol=0, atol=1e-5)


def test_nothing_is_skipped_when_a_fine_volume_becomes_a_small_cube() -> None:
    volume = ball([float(i) for i in range(90)], (90, 90), (1.0, 1.0), centre_mm=(40, 40, 40), radius_mm=0.5)

    cube, _ = volume_tensor(volume, 32)

    assert volume.voxels.max() > 0
    assert (volume.voxels > 0).sum() == 1
    assert cube.max() > 0.005


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_token_of_the_cube_comes_back_to_its_place_in_the_slices(plane: str) -> None:
    same_voxels = torch.nn.Conv3d(1, 1, 1, bias=False)
    torch.nn.init.ones_(same_voxels.weight)
    encoder = VolumeEncoder(torch.nn.Sequential(same_voxels, torch.nn.AvgPool3d(8)), 1, SIZE, "")
    volume = ball(plane=plane, centre_mm=(10, 40, 30), radius_mm=8)

    planes = encoder.encode(volume)

    found = max(planes, key=lambda one: float(one.patches.tokens.max()))
    centres = found.patches.placement.cell_centres(found.patches.grid)[found.patches.cells]
    y, x = centres[int(found.patches.tokens.argmax())]
    assert (found.depth * 60, y * 60, x * 60) == pytest.approx((10, 40, 30), abs=8)
    assert abs(volume.offsets_mm[found.index] - found.depth * 60) <= 2.5


# --- slice by slice ---


def test_slices_go_through_the_image_encoder_as_films_do(flat: Encoders) -> None:
    volume = ball(centre_mm=(15, 25, 20))
    chosen = spread_slices(volume, 4)

    study = flat.encode_study(Study((film(),), volumes=(volume,)))

    expected = [film(), *slice_images(volume, chosen)]
    assert torch.equal(study.tokens, torch.cat([flat.image.encode(image).tokens for image in expected]))
    assert [one.picture for one in study.images] == [Picture(0), *(Picture(index, 0) for index in chosen)]
    assert "CT of 24 slices: 4 of them read, evenly spread" in study.remarks
    assert not any("slice 1" in remark for remark in study.remarks)


def test_where_a_slice_lies_in_its_volume_travels_with_its_patches(flat: Encoders) -> None:
    volume = ball()

    study = flat.encode_study(Study((film(),), volumes=(volume, cine())))

    kinds = study.place[:, KIND]
    assert set(study.place[kinds == 0, DEPTH].tolist()) == {0.5}
    got = sorted(set(study.place[kinds == 1, DEPTH].tolist()))
    assert got == pytest.approx(depths(volume)[list(spread_slices(volume, 4))].tolist())
    assert len(set(study.place[kinds == 2, DEPTH].tolist())) == 4
    assert set(study.place[:, PRIOR].tolist()) == {0.0}


# --- as a volume ---


@pytest.mark.parametrize(
    ("name", "suffix", "dials"),
    [
        ("resnet10", ".pth", {}),
        ("resnet10", ".safetensors", {"bias_downsample": False}),
        ("resnet18", ".pth", {"shortcut_type": "A", "bias_downsample": False}),
        ("densenet121", ".pth", {}),
        ("seresnet50", ".safetensors", {}),
    ],
)
def test_networks_for_volumes_load_by_name(
    folder: Path, tmp_path: Path, name: str, suffix: str, dials: dict[str, Any]
) -> None:
    path = write_monai(tmp_path / f"{name}{suffix}", name, **dials)

    encoder = load_volume_encoder(config(folder, volume=f"monai:{name}", volume_weights=str(path)))

    assert encoder is not None
    planes = encoder.encode(ball())
    assert planes
    assert {plane.patches.tokens.shape[1] for plane in planes} == {encoder.width}
    assert all(plane.patches.tokens.isfinite().all() for plane in planes)


def test_weights_of_a_training_checkpoint_load_without_its_prefix(folder: Path, deep: Encoders) -> None:
    state = torch.load(write_monai(folder / "plain.pth"), weights_only=True)
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, folder / "wrapped.pth")

    encoder = load_volume_encoder(config(folder, volume="monai:resnet10", volume_weights=str(folder / "wrapped.pth")))

    assert encoder is not None
    assert encoder.digest == solid(deep).digest


@pytest.mark.parametrize(
    ("dials", "expected"),
    [
        ({"volume": "monai:resnet10"}, "monai:resnet10 needs weights. Set volume_weights"),
        ({"volume": "resnet10"}, "no volume encoder is called 'resnet10'. Use slices or monai:NAME"),
        ({"volume": "monai:unet", "volume_weights": "WEIGHTS"}, "MONAI has no network for volumes called 'unet'"),
        ({"volume": "monai:resnet11", "volume_weights": "WEIGHTS"}, "called 'resnet11'"),
        ({"volume": "monai:resnet18", "volume_weights": "WEIGHTS"}, "resnet10.safetensors does not fit monai:resnet18"),
        ({"volume": "monai:resnet10", "volume_weights": "nowhere.pth"}, "are not at 'nowhere.pth'"),
        ({"volume": "monai:resnet10", "volume_weights": "BROKEN"}, "broken.pth is not a plain state dict"),
        ({"volume": "monai:resnet10", "volume_weights": "WIDE"}, "wide.pth does not fit monai:resnet10"),
    ],
)
def test_a_volume_encoder_that_cannot_be_had_says_what_to_do(
    folder: Path, dials: dict[str, str], expected: str
) -> None:
    (folder / "broken.pth").write_bytes(b"not weights")
    write_monai(folder / "wide.pth", n_input_channels=3)
    paths = {"WEIGHTS": "resnet10.safetensors", "BROKEN": "broken.pth", "WIDE": "wide.pth"}
    dials = {name: str(folder / paths[value]) if value in paths else value for name, value in dials.items()}

    with pytest.raises(ModelError) as thrown:
        load_volume_encoder(config(folder, **dials))

    assert expected in str(thrown.value)


def test_films_and_volumes_have_channels_of_their_own(flat: Encoders, deep: Encoders) -> None:
    study = deep.encode_study(Study((film(),), volumes=(ball(), cine())))

    width = deep.image.width
    seen = study.place[:, KIND] == 1
    assert study.tokens.shape[1] == deep.image_width == width + solid(deep).width
    assert (study.tokens[seen, :width] == 0).all()
    assert (study.tokens[~seen, width:] == 0).all()
    assert study.tokens[seen, width:].abs().sum() > 0
    assert torch.equal(study.tokens[~seen, :width], flat.encode_study(Study((film(),), volumes=(cine(),))).tokens)
    assert "CT of 24 slices read as a volume" in study.remarks
    assert flat.image_width == width


def test_the_planes_of_a_volume_are_tied_to_the_slices_at_their_centres(deep: Encoders) -> None:
    volume = ball()

    study = deep.encode_study(Study((), volumes=(volume,)))

    indices = [layout.picture.index for layout in study.images]
    assert indices == sorted(indices)
    at = sorted(set(study.place[:, DEPTH].tolist()))
    for index, depth in zip(indices, at, strict=True):
        assert abs(depths(volume)[index] - depth) <= 0.5 / volume.slices + 1e-6
    assert sum(len(layout.cells) for layout in study.images) == len(study.tokens)


@pytest.mark.parametrize("kind", ["flat", "deep"])
def test_a_voxel_that_changes_moves_a_token(kind: str, request: pytest.FixtureRequest) -> None:
    encoders: Encoders = request.getfixturevalue(kind)
    volume = ball()
    changed = volume.voxels.copy()
    changed[spread_slices(volume, 4)[1], 20:24, 20:24] = 200

    before, after = (
        encoders.encode_study(Study((), volumes=(replace(volume, voxels=v),))) for v in (volume.voxels, changed)
    )

    assert not torch.equal(before.tokens, after.tokens)


@pytest.mark.parametrize("axis", [1, 2])
def test_the_way_in_which_a_volume_is_stored_does_not_move_its_tokens(deep: Encoders, axis: int) -> None:
    volume = ball(centre_mm=(20, 25, 18), radius_mm=11)

    got, expected = (deep.encode_study(Study((), volumes=(v,))) for v in (flipped(volume, axis), volume))

    def in_order(study: EncodedStudy) -> Tensor:
        rows = study.place[:, :2].clone()
        rows[:, axis - 1] = 1 - rows[:, axis - 1] if study is got else rows[:, axis - 1]
        order = np.lexsort((rows[:, 1].numpy().round(3), rows[:, 0].numpy().round(3), study.place[:, DEPTH].numpy()))
        return study.tokens[torch.from_numpy(order)].float()

    torch.testing.assert_close(in_order(got), in_order(expected), rtol=0, atol=5e-3)


def test_another_volume_encoder_or_setting_has_other_keys(folder: Path, flat: Encoders, deep: Encoders) -> None:
    weights = str(write_monai(folder / "other.safetensors", seed=5))
    others = [
        Encoders(config(folder, volume_slices=5)),
        Encoders(config(folder, volume="monai:resnet10", volume_weights=weights)),
        Encoders(config(folder, volume="monai:resnet10", volume_weights=weights, volume_size=48)),
    ]

    assert len({encoders.digest for encoders in (flat, deep, *others)}) == 5


def test_an_encoded_volume_comes_back_from_the_cache(deep: Encoders, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, deep)
    study = deep.encode_study(Study((film(),), volumes=(ball(),), time=datetime(2024, 5, 31, 14, 30)))

    cache.keep_study("ab", study)
    kept = cache.study("ab")

    assert kept is not None
    same(kept, study)
    assert (kept.images, kept.remarks, kept.time) == (study.images, study.remarks, study.time)


# --- the model ---


def model_of(encoders: Encoders, dials: EncoderConfig, *, prior: str = "") -> Model:
    run = RunConfig(encoders=dials, fusion=fusion())
    described = cohort().model_copy(update={"prior": prior})
    torch.manual_seed(0)
    network = randomise(build_network(described, run, encoders, RecordBins(described.record, {})))
    return Model(card(run, described, encoders.digest), network, encoders, "0" * 64)


def case_of(*volumes: Volume, prior: Study | None = None, note: str = "no fever") -> Case:
    return Case("c1", "p1", Study((film(),), volumes=volumes), Note(note), prior=prior)


def test_a_model_with_a_volume_encoder_is_one_folder(folder: Path, deep: Encoders, tmp_path: Path) -> None:
    weights = write_monai(tmp_path / "gone.safetensors")
    dials = config(folder, volume="monai:resnet10", volume_weights=str(weights))
    model = model_of(deep, dials)
    case = case_of(ball(), cine())
    said = model.log_odds([model.encode(case)])
    Model.save(tmp_path / "model", model.card, model.network, model.encoders)
    weights.unlink()

    loaded = Model.load(tmp_path / "model")

    assert (tmp_path / "model" / "volume_encoder.safetensors").is_file()
    torch.testing.assert_close(loaded.log_odds([loaded.encode(case)]), said, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["flat", "deep"])
def test_a_volume_is_scored_the_same_alone_or_in_a_batch(
    folder: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    model = model_of(request.getfixturevalue(kind), config(folder))
    cases = [model.encode(case) for case in (case_of(ball()), case_of(cine(), ball(radius_mm=9)), case_of())]

    together = model.log_odds(cases)

    for row, case in enumerate(cases):
        torch.testing.assert_close(together[row : row + 1], model.log_odds([case]), rtol=0, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_every_picture_of_a_volume_has_an_overlay_in_its_own_grid(folder: Path, deep: Encoders) -> None:
    model = model_of(deep, config(folder))
    features = model.encode(case_of(ball(shape=(60, 40))))

    (explanation, *_) = explain(model, features, "")

    assert len(explanation.overlays) == len(features.layout.images) >= 2
    assert {overlay.heatmap().shape for overlay in explanation.overlays[1:]} == {(60, 40)}
    assert np.isfinite(explanation.overlays[1].heatmap()).all()


def given(cases: Iterable[Case]) -> Any:
    """In place of the reader: these cases."""
    return lambda cohort, rows, *_: ((row, Read(case, "")) for row, case in zip(rows, cases, strict=True))


def rows_of(*case_ids: str) -> Cohort:
    return Cohort(Path(), cohort(), tuple(CaseRow(case_id, "p1", None) for case_id in case_ids))


@pytest.mark.parametrize("kind", ["flat", "deep"])
def test_the_pictures_of_a_scored_volume_are_those_that_the_model_was_given(
    folder: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    model = model_of(request.getfixturevalue(kind), config(folder), prior="prior")
    volume, prior = ball(centre_mm=(20, 25, 18), radius_mm=11), Study((film(5),), volumes=(cine(colour=True),))
    monkeypatch.setattr(here, "read_rows", given([case_of(volume, prior=prior)]))

    score_cohort(model.info, rows_of("c1"), tmp_path, lambda done, total: None, in_process(model))

    with Store(tmp_path / "store.sqlite") as store:
        evidence = store.case(model.model_id, "c1").evidence
    now = [one for one in evidence.films if not one.prior]
    before = [one for one in evidence.films if one.prior]
    assert (now[0].part, before[0].part) == ("", "")
    assert [one.part for one in before[1:]] == [f"frame {n} of 6" for n in (1, 3, 4, 6)]
    for shown in now[1:]:
        index = int(shown.part.split()[1]) - 1
        (image,) = slice_images(volume, [index])
        assert (shown.digest, shown.modality, shown.remarks) == (image.digest, "CT", image.remarks)
        picture = np.asarray(PIL.Image.open(tmp_path / "films" / f"{shown.digest}.png")) / 255
        np.testing.assert_allclose(picture, image.pixels, atol=0.5 / 255 + 1e-6)
    assert len(list((tmp_path / "films").iterdir())) == len({one.digest for one in evidence.films})
    for explanation in evidence.explanations:
        for shown, overlay in zip(evidence.films, explanation.overlays, strict=True):
            drawn = PIL.Image.open(tmp_path / "films" / f"{shown.digest}.png")
            assert overlay.heatmap().shape == (drawn.height, drawn.width)


def test_the_voxels_of_a_scored_case_are_let_go(
    folder: Path, flat: Encoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(flat, config(folder))
    kept: list[weakref.ref[np.ndarray]] = []
    alive: list[int] = []

    def cases() -> Iterator[Case]:
        for number in range(5):
            case = case_of(ball(radius_mm=10 + number))
            assert case.study is not None
            kept.append(weakref.ref(case.study.volumes[0].voxels))
            alive.append(sum(voxels() is not None for voxels in kept))
            yield replace(case, case_id=f"c{number}")

    monkeypatch.setattr(here, "read_rows", given(cases()))

    done = score_cohort(
        model.info, rows_of(*(f"c{n}" for n in range(5))), tmp_path, lambda done, total: None, in_process(model)
    )

    assert done.scored == 5
    assert max(alive) <= 3


# --- an earlier study ---


def with_prior(seed: int = 0, patches: int = 6, prior: int = 3) -> Features:
    return random_case(seed, patches=patches, prior=prior)


@pytest.fixture(params=["cross_attention", "concat"])
def knows_priors(request: pytest.FixtureRequest) -> Any:
    network = random_network(
        fusion(request.param), widths=Widths(image=6, note=8, layer=4, columns=3, bins=BINS, prior=True)
    )
    return lambda cases: network(collate(cases)).detach()


def test_a_prior_study_changes_the_answer_and_so_does_what_it_shows(knows_priors: Any) -> None:
    case = with_prior()
    moved = replace(case, image=torch.cat([case.image[:3], case.image[3:] + 1]))
    without = replace(case, image=case.image[:3], place=case.place[:3])

    answers = knows_priors([case, moved, without])

    assert (answers[0] - answers[1]).abs().max() > 1e-3
    assert (answers[0] - answers[2]).abs().max() > 1e-3


def test_the_study_of_now_and_the_prior_study_are_not_one(knows_priors: Any) -> None:
    case = with_prior()
    swapped = replace(case, image=torch.cat([case.image[3:], case.image[:3]]))

    answers = knows_priors([case, swapped])

    assert (answers[0] - answers[1]).abs().max() > 1e-3


def test_a_prior_study_alone_is_no_image_and_says_nothing(knows_priors: Any) -> None:
    alone = with_prior(patches=4, prior=4)
    nothing = replace(alone, image=alone.image[:0], place=alone.place[:0])

    assert alone.present == nothing.present == (False, True, True)
    torch.testing.assert_close(knows_priors([alone]), knows_priors([nothing]), rtol=0, atol=1e-5)


def test_a_case_with_a_prior_study_is_scored_the_same_in_a_batch(knows_priors: Any) -> None:
    cases = [with_prior(1), random_case(2, patches=9), with_prior(3, patches=5, prior=1), random_case(4, patches=0)]

    together = knows_priors(cases)

    for row, case in enumerate(cases):
        torch.testing.assert_close(together[row : row + 1], knows_priors([case]), rtol=0, atol=1e-5)


def test_a_network_without_priors_pools_the_study_of_now_only() -> None:
    network = random_network(fusion(modalities=("image",)))
    case = with_prior()
    moved = replace(case, image=torch.cat([case.image[:3], case.image[3:] + 1]))

    answers = network(collate([case, moved]))

    torch.testing.assert_close(answers[0], answers[1])


def test_a_prior_study_is_seen_explained_and_told_apart(folder: Path, flat: Encoders) -> None:
    model = model_of(flat, config(folder), prior="prior")
    prior = Study((film(5),), remarks=("report object without pixels left out",))

    features = model.encode(case_of(ball(), prior=prior))

    (prediction,) = predict(model, [features])
    (explanation, *_) = explain(model, features, "")
    assert (len(features.layout.images), len(features.layout.prior)) == (5, 1)
    assert len(explanation.overlays) == 6
    assert np.nanmax(np.abs(explanation.overlays[-1].cells)) > 0
    assert "prior study: report object without pixels left out" in prediction.remarks
    assert int(features.place[:, PRIOR].sum()) == len(features.layout.prior[0].cells)


def test_a_model_that_knows_no_priors_says_that_it_left_one_out(folder: Path, flat: Encoders) -> None:
    model = model_of(flat, config(folder))

    features = model.encode(case_of(prior=Study((film(5),))))

    assert "prior study left out: the model knows none" in features.remarks
    torch.testing.assert_close(model.log_odds([features]), model.log_odds([model.encode(case_of())]))


def test_what_is_left_out_of_note_record_and_case_reaches_the_prediction(folder: Path, flat: Encoders) -> None:
    model = model_of(flat, config(folder))
    case = Case("c1", "p1", Study((film(),)), Note("no fever", ("IMPRESSION left out",)), remarks=("late value",))

    (prediction,) = predict(model, [model.encode(case)])

    assert prediction.remarks[-2:] == ("IMPRESSION left out", "late value")


def test_without_a_prior_column_the_network_is_what_it_was() -> None:
    torch.manual_seed(3)
    plain = build_network(cohort(), RunConfig(fusion=fusion()), _Sizes(), RecordBins({}, {}))  # type: ignore[arg-type]
    names = {name for name, _ in plain.named_parameters()}

    assert "body.rule.interaction.places.further" in names
    assert (plain.state_dict()["body.rule.interaction.places.further"] == 0).all()
    assert plain.state_dict()["body.heads.image.probe.centre"].shape == (18,)
    assert CohortConfig().prior == ""


class _Sizes:
    """What build_network asks of encoders."""

    image_width = 6

    class image:  # noqa: N801
        width = frozen_width = 6
        taught = ()

    class text:  # noqa: N801
        width = frozen_width = 8
        taught = ()
