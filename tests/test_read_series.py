"""Which slices belong together, and which images of a study are read: said aloud, and never by the names of files."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage

from medmm.case import Study
from medmm.config import CohortConfig, ImageRule, read_toml
from medmm.errors import ConfigError, DataError, Reason
from medmm.read.dicom.study import read_study
from tests.dicom_files import CANARIES, make_slice, ramp, save, slices, write, write_report, write_stack

LOCALIZER = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
CORONAL = [1, 0, 0, 0, 0, -1]
LUNG = ImageRule(modality=("CT",), description="lung")


def read(path: Path, *rules: ImageRule) -> Study:
    return read_study(path, "c1", rules)


def refusal(path: Path, *rules: ImageRule) -> DataError:
    with pytest.raises(DataError) as caught:
        read(path, *rules)
    return caught.value


def test_two_series_in_one_folder_are_two_volumes(tmp_path: Path) -> None:
    names = [[f"{place}{letter}" for place in range(5)] for letter in "ab"]
    write_stack(tmp_path, slices(), series="1.5", names=names[0], SeriesNumber=2)
    write_stack(tmp_path, slices()[::-1] + 1, series="1.6", names=names[1], SeriesNumber=1)

    second, first = read(tmp_path).volumes

    assert (second.series_uid, first.series_uid) == ("1.6", "1.5")
    np.testing.assert_array_equal(first.voxels, slices())
    np.testing.assert_array_equal(second.voxels, slices()[::-1] + 1)


@pytest.mark.parametrize(
    "other",
    [
        {"ImageOrientationPatient": CORONAL},
        {"PixelSpacing": [0.5, 0.5]},
        {"FrameOfReferenceUID": "1.2.3.10"},
        {"PhotometricInterpretation": "MONOCHROME1"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_slices_of_one_series_that_do_not_fit_together_are_two_volumes(tmp_path: Path, other: dict[str, Any]) -> None:
    def own(place: int) -> dict[str, Any]:
        return other if place >= 3 else {}

    positions = [(0, 0, 5.0 * place) if place < 3 else (0, 5.0 * place, 0) for place in range(6)]
    if "ImageOrientationPatient" not in other:
        positions = [(0, 0, 5.0 * place) for place in range(6)]

    found = read(write_stack(tmp_path, slices(6), positions, each=own)).volumes

    assert sorted(volume.slices for volume in found) == [3, 3]


def test_slices_of_another_size_are_a_volume_of_their_own(tmp_path: Path) -> None:
    write_stack(tmp_path / "a", slices(3, 12, 10))
    for place, pixels in enumerate(slices(2, 8, 10)):
        save(make_slice(pixels, (0, 0, place), SOPInstanceUID=f"1.9.{place}"), tmp_path / f"{place}.dcm")

    assert sorted(volume.voxels.shape for volume in read(tmp_path).volumes) == [(2, 8, 10), (3, 12, 10)]


def test_an_orientation_that_was_rounded_is_the_same_orientation(tmp_path: Path) -> None:
    def own(place: int) -> dict[str, Any]:
        return {"ImageOrientationPatient": [1, 0.00001 * place, 0, -0.00001 * place, 1, 0]}

    assert len(read(write_stack(tmp_path, slices(), each=own)).volumes) == 1


@pytest.mark.parametrize(
    ("keyword", "values", "way"),
    [
        ("AcquisitionNumber", [2, 1], "acquisition"),
        ("TemporalPositionIdentifier", [2, 10], "time position"),
        ("EchoNumbers", [1, 2], "echo"),
        ("DiffusionBValue", [0.0, 1000.0], "b-value"),
        ("ImageType", [["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]], "kind of image"),
        ("TriggerTime", [50.5, 900.5], "time"),
    ],
)
def test_several_images_at_each_position_are_told_apart(tmp_path: Path, keyword: str, values: Any, way: str) -> None:
    def own(place: int) -> dict[str, Any]:
        return {keyword: values[place % 2]}

    positions = [(0, 0, 5.0 * (place // 2)) for place in range(6)]
    write_stack(tmp_path, slices(6), positions, each=own, Modality="MR", SOPClassUID=MRImageStorage)

    found = read(tmp_path).volumes

    first = values.index(min(values))
    np.testing.assert_array_equal(found[0].voxels, slices(6)[first::2])
    np.testing.assert_array_equal(found[1].voxels, slices(6)[1 - first :: 2])
    assert [volume.remarks[0] for volume in found] == [
        f"phase {place} of 2 at the same positions, told apart by {way}" for place in (1, 2)
    ]


def test_echoes_and_kinds_together_tell_four_phases_apart(tmp_path: Path) -> None:
    def own(place: int) -> dict[str, Any]:
        return {"EchoNumbers": 1 + place % 2, "ImageType": ["ORIGINAL", "PRIMARY", "MP"[place // 2 % 2]]}

    positions = [(0, 0, 5.0 * (place // 4)) for place in range(12)]

    found = read(write_stack(tmp_path, slices(12), positions, each=own)).volumes

    assert [volume.slices for volume in found] == [3, 3, 3, 3]
    assert all("told apart by echo and kind of image" in volume.remarks[0] for volume in found)


def test_a_number_of_acquisition_for_each_slice_is_no_phase(tmp_path: Path) -> None:
    (volume,) = read(write_stack(tmp_path, slices(), each=lambda place: {"AcquisitionNumber": place})).volumes

    assert (volume.slices, volume.remarks) == (5, ())


def test_slices_beside_one_another_are_two_volumes(tmp_path: Path) -> None:
    positions = [(120.0 * (place % 2), 0, 5.0 * (place // 2)) for place in range(6)]

    left, right = read(write_stack(tmp_path, slices(6), positions)).volumes

    np.testing.assert_array_equal(left.voxels, slices(6)[::2])
    np.testing.assert_array_equal(right.voxels, slices(6)[1::2])


@pytest.mark.parametrize("jitter", [0.0, 0.002])
def test_echoes_are_not_torn_apart_by_where_they_lie_in_their_plane(tmp_path: Path, jitter: float) -> None:
    positions = [(-112.5 + jitter * (place % 3 - 1), 0, 5.0 * (place // 2)) for place in range(12)]

    found = read(
        write_stack(tmp_path, slices(12), positions, each=lambda place: {"EchoNumbers": 1 + place % 2})
    ).volumes

    assert [volume.slices for volume in found] == [6, 6]


@pytest.mark.parametrize("missing", [0, 12])
def test_acquisitions_of_a_tilted_gantry_are_not_torn_apart(tmp_path: Path, missing: int) -> None:
    tilt = np.radians(15)
    heights = [2.5 * (place // 2) for place in range(60)]
    positions = [(0, 0, height + 2.5 * missing * (height > 25)) for height in heights]
    orientation = [1.0, 0.0, 0.0, 0.0, float(np.cos(tilt)), float(-np.sin(tilt))]

    def own(place: int) -> dict[str, Any]:
        return {"AcquisitionNumber": 1 + place % 2, "ImageOrientationPatient": orientation}

    found = read(write_stack(tmp_path, slices(60), positions, each=own)).volumes

    assert [volume.slices for volume in found] == [30, 30]


def test_acquisitions_that_follow_one_another_are_one_volume(tmp_path: Path) -> None:
    positions = [(0, 0, 2.5 * (place - place // 5)) for place in range(25)]

    def own(place: int) -> dict[str, Any]:
        return {"AcquisitionNumber": 1 + place // 5, "AcquisitionTime": f"12000{place // 5}"}

    (volume,) = read(write_stack(tmp_path, slices(25), positions, each=own)).volumes

    assert volume.slices == 21
    first = "check: 2 images at the position of slice 5 of 21: the one acquired first was kept"
    assert volume.remarks[0] == first
    np.testing.assert_array_equal(volume.voxels[:9], slices(25)[[0, 1, 2, 3, 4, 6, 7, 8, 9]])


def test_acquisitions_that_follow_one_another_are_one_volume_of_each_kind(tmp_path: Path) -> None:
    positions = [(0, 0, 2.5 * (place // 2 - place // 10)) for place in range(50)]

    def own(place: int) -> dict[str, Any]:
        return {"AcquisitionNumber": 1 + place // 10, "ImageType": ["ORIGINAL", "PRIMARY", "MP"[place % 2]]}

    found = read(write_stack(tmp_path, slices(50), positions, each=own)).volumes

    assert [volume.slices for volume in found] == [21, 21]
    assert all("told apart by kind of image" in volume.remarks[0] for volume in found)
    assert all("2 images at the position of slice 5 of 21" in volume.remarks[1] for volume in found)


def test_a_short_phase_within_a_long_one_is_a_phase(tmp_path: Path) -> None:
    positions = [(0, 0, 2.5 * place) for place in (*range(3), *range(9))]

    found = read(
        write_stack(tmp_path, slices(12), positions, each=lambda place: {"AcquisitionNumber": 1 + (place > 2)})
    ).volumes

    assert [volume.slices for volume in found] == [3, 9]
    assert all("told apart by acquisition" in volume.remarks[0] for volume in found)


def test_a_number_of_acquisition_for_each_slice_does_not_hide_the_echoes(tmp_path: Path) -> None:
    positions = [(0, 0, 5.0 * (place // 2)) for place in range(6)]

    def own(place: int) -> dict[str, Any]:
        return {"AcquisitionNumber": place, "EchoNumbers": 1 + place % 2}

    found = read(write_stack(tmp_path, slices(6), positions, each=own)).volumes

    assert [volume.slices for volume in found] == [3, 3]
    assert all("told apart by echo" in volume.remarks[0] for volume in found)


@pytest.mark.parametrize("keyword", ["AcquisitionNumber", "TemporalPositionIdentifier", "EchoNumbers"])
@pytest.mark.parametrize("shift", [1.0, 0.7, 0.05])
def test_slices_that_take_turns_are_one_volume_and_said_to(tmp_path: Path, keyword: str, shift: float) -> None:
    positions = [(0, 0, 2.0 * (place // 2) + shift * (place % 2)) for place in range(16)]

    (volume,) = read(write_stack(tmp_path, slices(16), positions, each=lambda place: {keyword: 1 + place % 2})).volumes

    assert volume.slices == 16
    assert "check: slices of several acquisitions, times or echoes alternate in one stack" in volume.remarks
    assert any("spacing of slices varies" in remark for remark in volume.remarks) == (shift != 1.0)


def test_slices_that_do_not_take_turns_are_not_said_to(tmp_path: Path) -> None:
    (volume,) = read(write_stack(tmp_path, slices(12), each=lambda place: {"AcquisitionNumber": place // 4})).volumes

    assert volume.remarks == ()


def test_images_of_one_position_are_frames_in_time(tmp_path: Path) -> None:
    def own(place: int) -> dict[str, Any]:
        return {"TriggerTime": 100.0 * (5 - place), "InstanceNumber": 1}

    (volume,) = read(write_stack(tmp_path, slices(), [(0, 0, 0)] * 5, each=own)).volumes

    np.testing.assert_array_equal(volume.voxels, slices()[::-1])
    assert volume.affine is None
    assert "5 images at one position, read as frames in time" in volume.remarks


def test_a_localizer_is_left_out_where_there_is_a_stack(tmp_path: Path) -> None:
    write_stack(tmp_path, slices())
    scout = make_slice(ramp(40, 30), (0, 0, 3), CORONAL, ImageType=LOCALIZER, SOPInstanceUID="1.9")
    save(scout, tmp_path / "scout.dcm")

    study = read(tmp_path)

    assert (len(study.images), [volume.slices for volume in study.volumes]) == (0, [5])
    assert study.remarks == ("localizer images left out: 1",)


def test_a_localizer_never_lies_between_the_slices(tmp_path: Path) -> None:
    write_stack(tmp_path, slices(), each=lambda place: {"ImageType": LOCALIZER if place == 2 else ["ORIGINAL"]})

    (volume,) = read(tmp_path).volumes

    np.testing.assert_array_equal(volume.voxels, slices()[[0, 1, 3, 4]])
    assert "check: gap of 5 mm after slice 2 of 4 (2.5 mm elsewhere)" in volume.remarks


def test_localizers_alone_are_images_one_by_one(tmp_path: Path) -> None:
    study = read(write_stack(tmp_path, slices(3), ImageType=LOCALIZER))

    assert (len(study.images), study.volumes) == (3, ())


def ct_study(folder: Path) -> Path:
    """Four series: two stacks, a screenshot and a report."""
    write_stack(folder / "a", slices(), series="1.1", SeriesNumber=1, SeriesDescription="Thorax soft 5.0")
    write_stack(
        folder / "b", slices() + 1, series="1.2", SeriesNumber=2, SeriesDescription="Thorax LUNG 1.0 CANARYNAME"
    )
    shot: dict[str, Any] = {"SeriesInstanceUID": "1.3", "SeriesNumber": 3, "SOPInstanceUID": "1.3.1"}
    write(folder / "c.dcm", ramp(), SOPClassUID=SecondaryCaptureImageStorage, Modality="OT", **shot)
    write_report(folder / "d.dcm")
    return folder


def test_a_rule_takes_what_it_names_and_says_so(tmp_path: Path) -> None:
    study = read(ct_study(tmp_path), LUNG)

    assert ([volume.series_uid for volume in study.volumes], study.images) == (["1.2"], ())
    assert "rule 1 (modality CT, description 'lung') took series 2 of 3" in study.remarks
    assert "series 1, 3 of 3 left out: no rule takes them" in study.remarks
    assert not any(canary in remark for canary in CANARIES for remark in study.remarks)


def test_only_what_was_chosen_is_decoded(tmp_path: Path) -> None:
    ct_study(tmp_path)
    path = tmp_path / "a" / "002.dcm"
    path.write_bytes(path.read_bytes()[:-20])

    assert refusal(tmp_path).code == Reason.CORRUPT
    assert len(read(tmp_path, LUNG).volumes) == 1


def test_several_rules_take_what_any_of_them_names(tmp_path: Path) -> None:
    study = read(ct_study(tmp_path), LUNG, ImageRule(modality=("OT", "SC")))

    assert (len(study.volumes), len(study.images)) == (1, 1)
    assert "rule 2 (modality OT or SC) took series 3 of 3" in study.remarks
    assert "series 1 of 3 left out: no rule takes it" in study.remarks


@pytest.mark.parametrize("modality", ["CT", "PT"])
def test_at_most_so_many_are_taken_in_the_order_of_series(tmp_path: Path, modality: str) -> None:
    rule = ImageRule(modality=("CT",), at_most=1)

    study = read(ct_study(tmp_path), rule, ImageRule(modality=(modality,)))

    assert [volume.series_uid for volume in study.volumes] == ["1.1"]


def test_a_film_is_chosen_by_its_view_and_at_most_so_many(tmp_path: Path) -> None:
    for place, view in enumerate(["LL", "PA", "PA"]):
        write(tmp_path / f"{place}.dcm", ramp(), ViewPosition=view, InstanceNumber=place, SOPInstanceUID=f"1.2.{place}")

    study = read(tmp_path, ImageRule(modality=("CR",), view=("PA", "AP"), at_most=1))

    assert [image.instance_uid for image in study.images] == ["1.2.1"]
    assert any("rule 1 (modality CR, view PA or AP, at most 1) took 1 of 2 images" in one for one in study.remarks)


@pytest.mark.parametrize(
    ("scheme", "value", "view"),
    [
        ("SRT", "R-10226", "MLO"),
        ("SCT", "399368009", "MLO"),
        ("SNM3", "R-10242", "CC"),
        ("SCT", "399162004", "CC"),
        ("SRT", "R-10206", "AP"),
        ("SRT", "R-10214", "PA"),
        ("SCT", "272479007", "PA"),
        ("SRT", "R-10236", "LL"),
        ("SRT", "CANARYID", ""),
        ("99CANARY", "R-10226", ""),
    ],
)
def test_a_view_that_is_coded_is_a_view(tmp_path: Path, scheme: str, value: str, view: str) -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "CANARYNOTE"
    path = write(tmp_path / "a.dcm", ramp(), Modality="MG", ViewCodeSequence=Sequence([item]))

    (image,) = read(path).images

    assert (image.view, image.acquisition.get("ViewPosition", "")) == (view, view)
    if view:
        assert len(read(path, ImageRule(view=(view,))).images) == 1
    assert refusal(path, ImageRule(view=("XCCL",))).code == Reason.NO_MATCH


def test_a_view_position_comes_before_a_coded_view(tmp_path: Path) -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = "R-10226", "SRT"

    (image,) = read(write(tmp_path / "a.dcm", ramp(), ViewPosition="ML", ViewCodeSequence=Sequence([item]))).images

    assert image.view == "ML"


def test_a_study_without_a_match_is_refused_and_its_modalities_are_named(tmp_path: Path) -> None:
    problem = refusal(ct_study(tmp_path), ImageRule(modality=("MG",)))

    assert problem.code == Reason.NO_MATCH
    assert "(modalities there: CT, OT, SR)" in str(problem)
    assert "Thorax" not in str(problem)


def test_a_rule_gives_a_volume_its_window(tmp_path: Path) -> None:
    write_stack(tmp_path, slices(), WindowCenter=40, WindowWidth=400)

    (volume,) = read(tmp_path, ImageRule(window=(-600, 1500))).volumes

    assert volume.window == (-600, 1500)
    assert "window -600/1500 as cohort.toml says" in volume.remarks


def test_a_rule_gives_a_lone_slice_its_window_and_another_identity(tmp_path: Path) -> None:
    write_stack(tmp_path, slices(1), WindowCenter=40, WindowWidth=400)

    (own,), (given,) = read(tmp_path).images, read(tmp_path, ImageRule(window=(2000, 3001))).images

    np.testing.assert_allclose(given.pixels, np.clip((slices(1)[0] - 1999.5) / 3000 + 0.5, 0, 1), atol=1e-6)
    assert own.digest != given.digest


def test_a_localizer_that_a_rule_asks_for_alone_is_read(tmp_path: Path) -> None:
    write_stack(tmp_path / "a", slices(), series="1.1", SeriesDescription="Thorax")
    write_stack(tmp_path / "b", slices(1), series="1.2", SeriesDescription="Scout", ImageType=LOCALIZER)

    study = read(tmp_path, ImageRule(description="scout"))

    assert (len(study.images), len(study.volumes)) == (1, 0)


@pytest.mark.parametrize(("modality", "taken"), [("OT", 1), ("CR", 0)])
def test_photographs_are_modality_ot_to_a_rule(tmp_path: Path, modality: str, taken: int) -> None:
    write(tmp_path / "film.dcm", ramp())
    PIL.Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")

    study = read(tmp_path, ImageRule(modality=("CR",)), ImageRule(modality=(modality,), at_most=1))

    assert len(study.images) == 1 + taken


def test_a_rule_that_no_reader_could_follow_is_refused_with_the_table(tmp_path: Path) -> None:
    for line, words in (("description = '(lung'", "no regular expression"), ("window = [40, 0]", "not above 0")):
        (tmp_path / "cohort.toml").write_text(f"[[images]]\nmodality = ['CT']\n[[images]]\n{line}\n")

        with pytest.raises(ConfigError, match=rf"images.1'?\]?.*{words}"):
            read_toml(tmp_path / "cohort.toml", CohortConfig)
