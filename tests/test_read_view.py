"""What a viewer is given of a study: every stored value, how it is meant to be seen, and proof of what was scored."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from pydicom.dataset import Dataset

from medmm.errors import DataError, Reason
from medmm.read.dicom.study import read_study
from medmm.read.dicom.voi import Window
from medmm.read.guard import RefusedError
from medmm.read.sources.source import Source
from medmm.read.view import DisplaySet, Pixels, frame_of, open_study, read_pixels
from medmm.slices import slice_images
from tests.dicom_files import BROKEN, CANARIES, make_enhanced, ramp, save, slices, write, write_stack


def looked_at(path: Path) -> tuple[DisplaySet, Pixels]:
    """The only display set of a study."""
    ((display, decode),) = open_study(Source(path))
    return display, decode()


def film(path: Path, pixels: np.ndarray | None = None, **elements: Any) -> tuple[DisplaySet, Pixels]:
    return looked_at(write(path / "film.dcm", ramp() if pixels is None else pixels, **elements).parent)


def through(window: Window, values: np.ndarray, inverted: bool) -> np.ndarray:
    """Brightness, 0 to 1, as the page draws it."""
    share = np.clip((values - window.low) / (window.high - window.low), 0, 1)
    if window.curve:
        curve = np.frombuffer(window.curve, np.uint8)
        share = curve[np.rint(share * (len(curve) - 1)).astype(int)] / 255
    return np.asarray(1 - share if inverted else share)


def test_a_film_keeps_every_stored_value_in_16_bits(tmp_path: Path) -> None:
    stored = np.arange(48 * 40, dtype="<u2").reshape(48, 40) * 30
    display, pixels = film(tmp_path, stored, BitsStored=16, HighBit=15, WindowCenter=100, WindowWidth=10)

    assert (display.rows, display.columns) == (48, 40)
    assert pixels.values.dtype == np.uint16
    np.testing.assert_array_equal(pixels.values[0], stored)


@pytest.mark.parametrize(
    ("slope", "intercept", "kind"), [(1, -1024, np.int16), (0.5, 0, np.float32), (100, 0, np.float32)]
)
def test_values_are_in_the_unit_of_the_modality(tmp_path: Path, slope: float, intercept: int, kind: type) -> None:
    _, pixels = film(tmp_path, RescaleSlope=slope, RescaleIntercept=intercept)

    assert pixels.values.dtype == kind
    np.testing.assert_allclose(pixels.values[0], ramp() * float(slope) + intercept)


def test_padding_is_no_value_and_the_rest_is_as_it_was(tmp_path: Path) -> None:
    _, pixels = film(tmp_path, PixelPaddingValue=0)

    np.testing.assert_array_equal(np.isnan(pixels.values[0]), ramp() == 0)
    assert pixels.windows[-1] == Window("Whole range", ramp()[ramp() > 0].min(), ramp().max(), exact=True)


WAYS: dict[str, dict[str, Any]] = {
    "a window": {"WindowCenter": 2000, "WindowWidth": 3000},
    "an exact window": {"WindowCenter": 2000, "WindowWidth": 3000, "VOILUTFunction": "LINEAR_EXACT"},
    "a sigmoid": {"WindowCenter": 2000, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
    "several windows": {"WindowCenter": [900, 2000], "WindowWidth": [300, 3000]},
    "a window that shows nothing": {"WindowCenter": 30000, "WindowWidth": 10},
    "an empty window": {"WindowCenter": 30000, "WindowWidth": 0},
    "an empty window before another": {"WindowCenter": [30000, 2000], "WindowWidth": [0, 3000]},
    "a window that is not a number": {"WindowCenter": ["nan", 2000], "WindowWidth": [10, 3000]},
    "MONOCHROME1": {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 2000, "WindowWidth": 3000},
    "an inverse shape": {"PresentationLUTShape": "INVERSE"},
    "nothing at all": {},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_film_is_first_shown_as_it_was_given_to_the_model(tmp_path: Path, way: str) -> None:
    _, pixels = film(tmp_path, **WAYS[way])
    (image,) = read_study(tmp_path, "c").images

    shown = through(pixels.windows[0], pixels.values[0], pixels.inverted)

    np.testing.assert_allclose(shown, image.pixels, atol=0.003)


def test_a_voi_lut_is_first_shown_as_it_was_given_to_the_model(tmp_path: Path) -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTExplanation = [1000, 500, 12], "BONES"
    item.add_new("LUTData", "US", [int(4095 * (step / 999) ** 2) for step in range(1000)])
    item["LUTDescriptor"].VR = "US"
    _, pixels = film(tmp_path, VOILUTSequence=[item])
    (image,) = read_study(tmp_path, "c").images

    assert pixels.windows[0].name == "BONES"
    shown = through(pixels.windows[0], pixels.values[0], pixels.inverted)
    np.testing.assert_allclose(shown, image.pixels, atol=0.003)


def test_windows_and_tables_beyond_the_first_are_left_out_where_they_make_no_sense(tmp_path: Path) -> None:
    _, pixels = film(tmp_path / "windows", WindowCenter=[2000, "nan", 9], WindowWidth=[3000, 10, "inf"])
    assert [window.name for window in pixels.windows] == ["Window 1", "Whole range"]

    tables = [Dataset(), Dataset()]
    for table, entries in zip(tables, (4096, 10), strict=True):
        table.add_new("LUTDescriptor", "US", [4096, 0, 12])
        table.add_new("LUTData", "US", list(range(entries)))
    _, pixels = film(tmp_path / "tables", VOILUTSequence=tables)
    assert [window.name for window in pixels.windows] == ["VOI LUT 1", "Whole range"]


def test_a_stack_whose_window_is_not_a_number_is_shown_as_one_without(tmp_path: Path) -> None:
    write_stack(tmp_path, slices(), WindowCenter="nan", WindowWidth=400)
    (volume,) = read_study(tmp_path, "c").volumes

    assert volume.window is None
    assert any("not valid" in remark for remark in volume.remarks)


def test_a_film_of_padding_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="padding"):
        film(tmp_path, np.zeros_like(ramp()), PixelPaddingValue=0)


def test_every_stated_window_is_there_by_the_name_that_the_file_gives_it(tmp_path: Path) -> None:
    elements: dict[str, Any] = {"WindowCenter": [2000, 600, 1], "WindowWidth": [4000, 201, 0]}
    _, pixels = film(tmp_path, WindowCenterWidthExplanation=["NORMAL", "HARDER", "NONE"], **elements)

    assert pixels.windows == (
        Window("NORMAL", 0, 3999),
        Window("HARDER", 499.5, 699.5),
        Window("Whole range", 0, int(ramp().max()), exact=True),
    )


def test_ct_has_the_windows_that_readers_know_by_name(tmp_path: Path) -> None:
    write_stack(tmp_path, slices(), RescaleSlope=1, RescaleIntercept=-1024)

    display, pixels = looked_at(tmp_path)

    assert display.unit == "HU"
    names = [window.name for window in pixels.windows]
    assert names == ["Soft tissue", "Lung", "Bone", "Brain", "Whole range"]
    assert pixels.windows[1] == Window("Lung", -1350, 149)


@pytest.mark.parametrize(
    ("orientation", "edges"),
    [
        ((1, 0, 0, 0, 1, 0), ("R", "L", "A", "P")),
        ((1, 0, 0, 0, 0, -1), ("R", "L", "H", "F")),
        ((0, 1, 0, 0, 0, -1), ("A", "P", "H", "F")),
        ((0.8, 0.6, 0, 0, 0, -1), ("RA", "LP", "H", "F")),
    ],
)
def test_a_slice_says_which_way_the_patient_lies(tmp_path: Path, orientation: Any, edges: tuple[str, ...]) -> None:
    normal = np.cross(orientation[:3], orientation[3:])
    write_stack(tmp_path, slices(), [normal * place for place in range(5)], ImageOrientationPatient=list(orientation))

    display, _ = looked_at(tmp_path)

    assert display.edges == edges


@pytest.mark.parametrize(
    ("stated", "edges"), [(["L", "F"], ("R", "L", "H", "F")), (["A", "FR"], ("P", "A", "HL", "FR")), (["?", "F"], None)]
)
def test_a_film_says_which_way_the_patient_stood(tmp_path: Path, stated: list[str], edges: Any) -> None:
    display, _ = film(tmp_path, PatientOrientation=stated)

    assert display.edges == edges


@pytest.mark.parametrize(
    ("elements", "spacing", "at_detector"),
    [
        ({"ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2), True),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.2, 0.2]}, (0.2, 0.2), True),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.18, 0.18]}, (0.18, 0.18), False),
        ({}, None, False),
    ],
)
def test_millimetres_are_those_of_the_detector_or_of_the_patient(
    tmp_path: Path, elements: dict[str, Any], spacing: Any, at_detector: bool
) -> None:
    display, _ = film(tmp_path, **elements)

    assert (display.spacing_mm, display.at_detector) == (spacing, at_detector)


def test_pixels_that_are_not_square_are_not_resampled(tmp_path: Path) -> None:
    display, pixels = film(tmp_path, PixelAspectRatio=[3, 2])

    assert display.ratio == 1.5
    np.testing.assert_array_equal(pixels.values[0], ramp())


def test_a_volume_has_the_slices_that_were_scored_in_their_order(tmp_path: Path) -> None:
    order = [3, 0, 4, 1, 2]
    names = [f"{place}.dcm" for place in order]
    write_stack(tmp_path, slices(), names=names, RescaleSlope=1, RescaleIntercept=-1024)
    (volume,) = read_study(tmp_path, "c").volumes

    display, pixels = looked_at(tmp_path)

    np.testing.assert_array_equal(pixels.values, volume.voxels)
    assert tuple(frame.instance_uid for frame in display.frames) == volume.instance_uids
    assert (display.is_stack, display.step_mm, display.unit) == (True, 2.5, "HU")


def test_frames_of_one_object_are_numbered_as_in_the_object(tmp_path: Path) -> None:
    down = [(0, 0, 10.0 - 2.5 * place) for place in range(5)]
    save(make_enhanced(slices(), down), tmp_path / "enhanced.dcm")
    (volume,) = read_study(tmp_path, "c").volumes

    display, pixels = looked_at(tmp_path)

    assert [frame.number for frame in display.frames] == [5, 4, 3, 2, 1]
    scored = slice_images(volume, range(5))
    assert [frame_of(display, pixels, image.digest, image.instance_uid) for image in scored] == [0, 1, 2, 3, 4]


def test_a_frame_is_what_was_scored_only_if_its_file_is_the_same(tmp_path: Path) -> None:
    display, pixels = film(tmp_path)
    (image,) = read_study(tmp_path, "c").images
    assert frame_of(display, pixels, image.digest, image.instance_uid) == 0

    other, changed = film(tmp_path, ramp() + np.uint16(1), SOPInstanceUID=image.instance_uid)

    assert frame_of(other, changed, image.digest, image.instance_uid) is None


def test_a_slice_is_what_was_scored_only_if_no_file_of_its_volume_has_changed(tmp_path: Path) -> None:
    write_stack(tmp_path, slices())
    (image,) = slice_images(read_study(tmp_path, "c").volumes[0], [2])
    display, pixels = looked_at(tmp_path)
    assert frame_of(display, pixels, image.digest, image.instance_uid) == 2

    write_stack(tmp_path, slices()[:4])  # of the fifth file nothing changes, and its neighbours stay
    write_stack(tmp_path, slices() + np.uint16(1), names=[f"{place:03}.dcm" for place in range(5)])

    assert frame_of(*looked_at(tmp_path), image.digest, image.instance_uid) is None


def test_what_was_scored_in_a_window_that_the_cohort_asked_for_is_recognised(tmp_path: Path) -> None:
    from medmm.config import ImageRule

    write_stack(tmp_path / "ct", slices())
    write(tmp_path / "film.dcm", ramp(), SeriesInstanceUID="1.2.9", SOPInstanceUID="1.2.9.1")
    study = read_study(tmp_path, "c", [ImageRule(window=(300.0, 900.0))])
    (piece,) = slice_images(study.volumes[0], [1])

    found: list[tuple[int | None, int | None]] = []
    for display, decode in open_study(Source(tmp_path)):
        pixels = decode()
        for image in (piece, *study.images):
            found.append(
                (
                    frame_of(display, pixels, image.digest, image.instance_uid),
                    frame_of(display, pixels, image.digest, image.instance_uid, [(300.0, 900.0)]),
                )
            )

    assert sorted(pair[1] for pair in found if pair[1] is not None) == [0, 1]
    assert all(pair[0] is None for pair in found)


def test_pixels_are_read_again_from_the_files_of_their_display_set_alone(tmp_path: Path) -> None:
    write_stack(tmp_path / "ct", slices())
    write(tmp_path / "film.dcm", ramp(), SeriesInstanceUID="1.2.9", SOPInstanceUID="1.2.9.1")
    source = Source(tmp_path)
    sets = [display for display, _ in open_study(source)]
    stack = next(display for display in sets if len(display.frames) == 5)
    (tmp_path / "film.dcm").unlink()

    np.testing.assert_array_equal(read_pixels(source, stack).values, slices())


def test_a_file_that_changed_since_it_was_opened_is_refused(tmp_path: Path) -> None:
    display, _ = film(tmp_path)
    write(tmp_path / "film.dcm", ramp() + np.uint16(1))

    with pytest.raises(RefusedError, match="has changed"):
        read_pixels(Source(tmp_path), display)


@pytest.mark.parametrize("wrong", BROKEN)
def test_what_cannot_be_scored_is_refused_without_a_word_of_the_patient(tmp_path: Path, wrong: str) -> None:
    path = BROKEN[wrong][2](tmp_path / "study")
    with pytest.raises(DataError):
        read_study(path, "c")

    said, seen = "", list[Pixels]()
    try:
        seen = [decode() for _, decode in open_study(Source(path))]
    except RefusedError as refused:
        said = f"{refused.problem} {refused.remedy}"

    assert seen == []
    assert not [word for word in CANARIES if word in said]


@pytest.mark.parametrize(
    "picture",
    [
        np.arange(200, dtype=np.uint8).reshape(10, 20),
        np.arange(0, 60000, 300, dtype=np.uint16).reshape(10, 20),
        np.arange(600, dtype=np.uint16).astype(np.uint8).reshape(10, 20, 3),
    ],
)
def test_a_photograph_keeps_its_values(tmp_path: Path, picture: np.ndarray) -> None:
    PIL.Image.fromarray(picture).save(tmp_path / "photograph.png")
    digest = hashlib.sha256((tmp_path / "photograph.png").read_bytes()).hexdigest()

    display, pixels = looked_at(tmp_path)

    np.testing.assert_array_equal(pixels.values[0], picture)
    assert frame_of(display, pixels, digest, "") == 0
    assert read_pixels(Source(tmp_path), display).values.shape == pixels.values.shape


def test_more_than_may_be_held_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "film.dcm", ramp())
    monkeypatch.setattr("medmm.read.view.MAX_VIEWED_BYTES", 1000)

    with pytest.raises(RefusedError) as caught:
        open_study(Source(tmp_path))
    assert caught.value.code == Reason.TOO_LARGE
