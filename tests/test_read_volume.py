"""Slices become volumes: in their order along the normal, with an affine that is right, in the unit of the modality."""

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    NuclearMedicineImageStorage,
    ParametricMapStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
    RTDoseStorage,
    SecondaryCaptureImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from medmm.case import Study, Volume
from medmm.errors import DataError, Reason
from medmm.read.dicom import pixels as decoding
from medmm.read.dicom import study as dicom
from medmm.read.dicom import volume as reading
from medmm.read.dicom.instance import Instance, open_instance
from medmm.read.dicom.pixels import decode
from medmm.read.dicom.study import read_study
from medmm.slices import slice_images
from tests.dicom_files import (
    AXIAL,
    compressed_frame,
    make_dicom,
    make_enhanced,
    make_slice,
    ramp,
    save,
    slices,
    write,
    write_stack,
)

HU: dict[str, Any] = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400}


def volume(path: Path) -> Volume:
    study = read_study(path, "c1")
    assert (len(study.volumes), len(study.images)) == (1, 0)
    return study.volumes[0]


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read_study(path, "c1")
    return caught.value


def transform(found: Volume) -> np.ndarray:
    assert found.affine is not None
    return found.affine


def assert_same(one: Volume, other: Volume) -> None:
    np.testing.assert_array_equal(one.voxels, other.voxels)
    assert one.voxels.dtype == other.voxels.dtype
    assert (one.affine is None) == (other.affine is None)
    if one.affine is not None and other.affine is not None:
        np.testing.assert_array_equal(one.affine, other.affine)
    kept = ("offsets_mm", "window", "inverted", "series_uid", "instance_uids", "modality", "remarks")
    assert [getattr(one, name) for name in kept] == [getattr(other, name) for name in kept]


def oblique() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along a row, down a column, and from slice to slice, turned about all axes."""
    a, b = 0.5, -0.3
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    row, column, normal = (about_z @ about_x).T
    return row, column, normal


def test_a_series_of_ct_becomes_a_volume_in_hounsfield_units(tmp_path: Path) -> None:
    found = volume(write_stack(tmp_path, slices(), **HU))

    np.testing.assert_array_equal(found.voxels, slices().astype(int) - 1024)
    assert found.voxels.dtype == np.int16
    assert (found.modality, found.window, found.series_uid) == ("CT", (40, 400), "1.2.3.4")
    assert found.offsets_mm == (0, 2.5, 5, 7.5, 10)
    assert found.instance_uids == tuple(f"1.2.3.4.{place}" for place in range(1, 6))
    expected = np.array([[0.8, 0, 0, -10], [0, 0.8, 0, 20], [0, 0, 2.5, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(transform(found), expected, atol=1e-12)
    assert not any(remark.startswith("check: ") for remark in found.remarks)


def test_names_of_files_change_nothing(tmp_path: Path) -> None:
    names = [f"{letter}.dcm" for letter in "dbeac"]

    assert_same(
        volume(write_stack(tmp_path / "a", slices(), names=names, **HU)),
        volume(write_stack(tmp_path / "b", slices(), **HU)),
    )


@pytest.mark.parametrize("order", [(5, 4, 3, 2, 1), (3, 1, 5, 2, 4), (1, 1, 1, 1, 1), None], ids=str)
def test_numbers_of_instances_change_no_voxel_and_no_place(tmp_path: Path, order: Any) -> None:
    plain = volume(write_stack(tmp_path / "plain", slices(), **HU))
    other = volume(
        write_stack(tmp_path / "other", slices(), each=lambda place: {"InstanceNumber": order and order[place]}, **HU)
    )

    np.testing.assert_array_equal(other.voxels, plain.voxels)
    np.testing.assert_array_equal(other.affine, plain.affine)
    assert (other.offsets_mm, other.remarks) == (plain.offsets_mm, plain.remarks)


def test_a_reversed_stack_is_the_same_volume(tmp_path: Path) -> None:
    reverse = [(-10, 20, 2.5 * place) for place in range(4, -1, -1)]

    plain = volume(write_stack(tmp_path / "plain", slices(), **HU))
    turned = volume(write_stack(tmp_path / "turned", slices()[::-1], reverse, **HU))

    np.testing.assert_array_equal(turned.voxels, plain.voxels)
    np.testing.assert_array_equal(turned.affine, plain.affine)
    assert turned.offsets_mm == plain.offsets_mm


def test_every_voxel_of_an_oblique_stack_lies_where_its_header_says(tmp_path: Path) -> None:
    row, column, normal = oblique()
    origin, spacing, step = np.array([12.5, -40.25, 7.0]), (0.7, 0.4), 3.3
    positions = [origin + step * place * normal for place in range(4)]
    orientation = [*row, *column]

    found = volume(
        write_stack(
            tmp_path,
            slices(4),
            positions,
            ImageOrientationPatient=[float(number) for number in orientation],
            PixelSpacing=list(spacing),
        )
    )

    for place, r, c in itertools.product(range(4), (0, 11), (0, 9)):
        expected = positions[place] + row * spacing[1] * c + column * spacing[0] * r  # PS3.3 C.7.6.2.1.1
        np.testing.assert_allclose((transform(found) @ [c, r, place, 1])[:3], expected, atol=1e-6)
    np.testing.assert_allclose(found.offsets_mm, [0, 3.3, 6.6, 9.9], atol=1e-6)


def test_a_removed_slice_is_named(tmp_path: Path) -> None:
    write_stack(tmp_path, slices(10), **HU)
    (tmp_path / "003.dcm").unlink()

    found = volume(tmp_path)

    assert "check: gap of 5 mm after slice 3 of 9 (2.5 mm elsewhere)" in found.remarks
    assert found.offsets_mm[2:5] == (5, 10, 12.5)
    assert transform(found)[2, 2] == pytest.approx(2.5 * 9 / 9)


def test_spacing_that_varies_is_named(tmp_path: Path) -> None:
    heights = [0, 2, 5, 6, 10]

    found = volume(write_stack(tmp_path, slices(), [(0, 0, height) for height in heights]))

    assert "check: spacing of slices varies from 1 to 4 mm" in found.remarks
    assert found.offsets_mm == tuple(heights)


def test_many_gaps_are_named_and_then_counted(tmp_path: Path) -> None:
    heights = np.cumsum([0, *([1] * 4 + [3]) * 5])

    found = volume(write_stack(tmp_path, slices(26), [(0, 0, height) for height in heights]))

    assert [remark for remark in found.remarks if "check" in remark] == [
        "check: gap of 3 mm after slice 5 of 26 (1 mm elsewhere)",
        "check: gap of 3 mm after slice 10 of 26 (1 mm elsewhere)",
        "check: gap of 3 mm after slice 15 of 26 (1 mm elsewhere)",
        "check: 2 more steps between slices are not 1 mm",
    ]


@pytest.mark.parametrize("decimals", [1, 2, 5])
def test_places_rounded_by_the_scanner_are_no_gap(tmp_path: Path, decimals: int) -> None:
    heights = [round(place * 0.625, decimals) for place in range(20)]

    found = volume(write_stack(tmp_path, slices(20), [(0, 0, height) for height in heights]))

    assert not any("check" in remark for remark in found.remarks)
    assert abs(transform(found)[2, 2] - 0.625) < 0.005


def test_a_place_beyond_belief_is_none(tmp_path: Path) -> None:
    assert volume(write_stack(tmp_path, slices(), [(1e300, 0, place) for place in range(5)])).affine is None


def test_a_tilted_gantry_is_named_and_its_affine_is_sheared(tmp_path: Path) -> None:
    lean = np.tan(np.radians(15)) * 5
    positions = [(0, -lean * place, 5 * place) for place in range(5)]

    found = volume(write_stack(tmp_path, slices(), positions))

    assert "slices lie aslant by 15.0 degrees (gantry tilt): the affine is sheared" in found.remarks
    np.testing.assert_allclose(transform(found)[:3, 2], [0, -lean, 5], atol=1e-9)
    assert found.offsets_mm == (0, 5, 10, 15, 20)


def test_a_slice_beside_the_line_is_named(tmp_path: Path) -> None:
    positions = [(6.0 * (place == 2), 0, 5 * place) for place in range(5)]

    assert "check: slices lie up to 6 mm beside one line" in volume(write_stack(tmp_path, slices(), positions)).remarks


def test_a_doubled_slice_is_named_and_the_earlier_one_is_kept(tmp_path: Path) -> None:
    write_stack(tmp_path, slices(), each=lambda place: {"AcquisitionTime": f"12000{place}"})
    again = make_slice(slices()[0], (-10, 20, 5), AcquisitionTime="120009", SOPInstanceUID="1.2.0")
    save(again, tmp_path / "again.dcm")

    found = volume(tmp_path)

    np.testing.assert_array_equal(found.voxels, slices())
    assert "check: 2 images at the position of slice 3 of 5: the one acquired first was kept" in found.remarks


def test_which_double_is_kept_does_not_hang_on_names_or_numbers(tmp_path: Path) -> None:
    for name, number in (("a", 1), ("z", 99)):
        write_stack(tmp_path / name, slices())
        save(
            make_slice(slices()[0], (-10, 20, 5), InstanceNumber=number, SOPInstanceUID="1.2.0"), tmp_path / name / name
        )

    one, other = volume(tmp_path / "a"), volume(tmp_path / "z")

    assert_same(one, other)
    np.testing.assert_array_equal(one.voxels[2], slices()[0])
    assert any("the one with the lowest UID was kept" in remark for remark in one.remarks)


def test_slices_without_a_place_are_ordered_by_number_and_have_no_affine(tmp_path: Path) -> None:
    positions = [None] * 5

    found = volume(write_stack(tmp_path, slices(), positions, names=list("edcba"), **HU))

    np.testing.assert_array_equal(found.voxels, slices().astype(int) - 1024)
    assert found.affine is None
    assert found.offsets_mm == ()
    assert any("do not say where they lie" in remark for remark in found.remarks)


@pytest.mark.parametrize("orientation", [(1, 0, 0, 1, 0, 0), (0,) * 6, (2, 0, 0, 0, 2, 0)], ids=str)
def test_an_orientation_that_is_none_gives_no_affine(tmp_path: Path, orientation: Any) -> None:
    found = volume(write_stack(tmp_path, slices(), ImageOrientationPatient=list(orientation)))

    assert found.affine is None


def test_rescale_stored_is_rescale_applied(tmp_path: Path) -> None:
    stored = volume(write_stack(tmp_path / "stored", slices(), RescaleSlope=2, RescaleIntercept=-1000))
    wide: dict[str, Any] = {"BitsStored": 16, "HighBit": 15}
    applied = volume(write_stack(tmp_path / "applied", (slices() * 2.0 - 1000).astype("<i2"), **wide))

    np.testing.assert_array_equal(stored.voxels, applied.voxels)
    assert stored.voxels.dtype == applied.voxels.dtype == np.int16


def test_values_that_are_no_whole_numbers_are_kept_as_they_are(tmp_path: Path) -> None:
    found = volume(write_stack(tmp_path, slices(), RescaleSlope=0.25, RescaleIntercept=-10))

    assert found.voxels.dtype == np.float32
    np.testing.assert_allclose(found.voxels, slices() * 0.25 - 10)


def test_values_beyond_sixteen_bits_are_kept_as_they_are(tmp_path: Path) -> None:
    stored = slices().astype("<u2")
    stored[3, 0, 0] = 65535

    found = volume(write_stack(tmp_path, stored, BitsStored=16, HighBit=15))

    assert found.voxels.dtype == np.float32
    np.testing.assert_array_equal(found.voxels, stored)


def test_each_slice_of_pet_has_its_own_slope(tmp_path: Path) -> None:
    slopes = [0.5, 1.25, 2.0, 0.1, 3.0]
    elements = {"SOPClassUID": PositronEmissionTomographyImageStorage, "Modality": "PT", "Units": "BQML"}

    found = volume(
        write_stack(
            tmp_path, slices(), each=lambda place: {"RescaleSlope": slopes[place], "RescaleIntercept": 0}, **elements
        )
    )

    np.testing.assert_allclose(found.voxels, slices() * np.array(slopes)[:, None, None], rtol=1e-6)
    assert "rescaled slice by slice" in found.remarks
    assert found.acquisition["Units"] == "BQML"


def test_a_modality_lut_of_a_volume_is_applied(tmp_path: Path) -> None:
    item = Dataset()
    item.add_new(0x00283002, "US", [4096, 0, 16])
    item.add_new(0x00283006, "OW", (np.arange(4096) * 3).astype("<u2").tobytes())

    found = volume(write_stack(tmp_path, slices(), ModalityLUTSequence=Sequence([item])))

    np.testing.assert_array_equal(found.voxels, slices().astype(int) * 3)


def test_a_window_that_differs_from_slice_to_slice_is_the_median(tmp_path: Path) -> None:
    def own(place: int) -> dict[str, Any]:
        return {"WindowCenter": 100 + 10 * place, "WindowWidth": 400}

    found = volume(write_stack(tmp_path, slices(), each=own))

    assert found.window == (120, 400)
    assert "VOI window differs from slice to slice: median 120/400" in found.remarks


@pytest.mark.parametrize("width", [0, None])
def test_a_volume_without_a_valid_window_has_none(tmp_path: Path, width: int | None) -> None:
    assert volume(write_stack(tmp_path, slices(), WindowCenter=40, WindowWidth=width)).window is None


def test_monochrome1_is_the_same_volume_shown_the_other_way_round(tmp_path: Path) -> None:
    plain = volume(write_stack(tmp_path / "plain", slices(), WindowCenter=2000, WindowWidth=1001))
    twin = volume(
        write_stack(
            tmp_path / "twin",
            4095 - slices(),
            PhotometricInterpretation="MONOCHROME1",
            WindowCenter=4096 - 2000,
            WindowWidth=1001,
        )
    )

    def shown(one: Volume) -> np.ndarray:
        assert one.window is not None
        centre, width = one.window
        ramp = np.clip((one.voxels - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)  # PS3.3 C.11.2.1.2.1
        return 1 - ramp if one.inverted else ramp

    assert (plain.inverted, twin.inverted) == (False, True)
    np.testing.assert_allclose(shown(twin), shown(plain), atol=1e-9)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_padding_is_the_darkest_value_of_the_picture(tmp_path: Path, photometric: str) -> None:
    stored = slices().astype("<i2")
    stored[:, 0, 0] = -2000
    stored[4] = -2000  # a slice of nothing else

    found = volume(
        write_stack(
            tmp_path,
            stored,
            PixelPaddingValue=-2000,
            BitsStored=16,
            HighBit=15,
            RescaleSlope=1,
            RescaleIntercept=-24,
            PhotometricInterpretation=photometric,
        )
    )

    picture = stored[stored != -2000].astype(int) - 24
    darkest = picture.min() if photometric == "MONOCHROME2" else picture.max()
    np.testing.assert_array_equal(found.voxels[stored != -2000], picture)
    assert set(found.voxels[stored == -2000].tolist()) == {darkest}
    assert any("pixel padding set to the" in remark for remark in found.remarks)


def test_a_series_of_padding_only_is_refused(tmp_path: Path) -> None:
    assert refusal(write_stack(tmp_path, np.zeros((3, 4, 4), "<u2"), PixelPaddingValue=0)).code == Reason.CORRUPT


@pytest.mark.parametrize("shuffled", [False, True])
def test_an_enhanced_object_is_the_same_slices_bit_for_bit(tmp_path: Path, shuffled: bool) -> None:
    row, column, normal = oblique()
    positions = [np.array([1.5, 2.5, 3.5]) + 2.5 * place * normal for place in range(5)]
    orientation = [*row, *column]
    order = [3, 0, 4, 1, 2] if shuffled else list(range(5))
    save(
        make_enhanced(slices()[order], [positions[place] for place in order], orientation),
        tmp_path / "enhanced" / "a.dcm",
    )
    write_stack(tmp_path / "single", slices(), positions, ImageOrientationPatient=[float(n) for n in orientation], **HU)

    enhanced, single = volume(tmp_path / "enhanced"), volume(tmp_path / "single")

    np.testing.assert_array_equal(enhanced.voxels, single.voxels)
    np.testing.assert_array_equal(enhanced.affine, single.affine)
    assert (enhanced.offsets_mm, enhanced.window) == (single.offsets_mm, single.window)
    assert enhanced.voxels.dtype == single.voxels.dtype
    assert (len(enhanced.instance_uids), len(set(enhanced.instance_uids))) == (enhanced.slices, 1)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda syntax: syntax.keyword)
def test_every_frame_of_a_compressed_object_is_read(tmp_path: Path, syntax: Any) -> None:
    positions = [(0, 0, 2.5 * place) for place in range(5)]
    plain = save(make_enhanced(slices(5, 64, 48), positions), tmp_path / "plain.dcm")
    packed = save(make_enhanced(slices(5, 64, 48), positions), tmp_path / "packed.dcm", syntax)

    np.testing.assert_array_equal(volume(packed).voxels, volume(plain).voxels)


def test_an_enhanced_object_with_two_phases_is_two_volumes(tmp_path: Path) -> None:
    dataset = make_enhanced(slices(6), [(0, 0, 2.5 * (place % 3)) for place in range(6)])
    for place, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence[0].TemporalPositionIndex = 1 + place // 3
    save(dataset, tmp_path / "a.dcm")

    study = read_study(tmp_path, "c1")

    expected = slices(6).astype(int) - 1024
    np.testing.assert_array_equal([one.voxels for one in study.volumes], [expected[:3], expected[3:]])
    assert len({one.digest for one in study.volumes}) == 2
    assert "phase 2 of 2 at the same positions, told apart by time position" in study.volumes[1].remarks


def test_an_enhanced_object_of_one_frame_is_an_image_in_its_window(tmp_path: Path) -> None:
    save(make_enhanced(slices(1), [(0, 0, 0)]), tmp_path / "enhanced" / "a.dcm")
    write_stack(tmp_path / "single", slices(1), **HU)

    (enhanced,), (single,) = (read_study(tmp_path / name, "c1").images for name in ("enhanced", "single"))

    np.testing.assert_array_equal(enhanced.pixels, single.pixels)
    assert "VOI window 40/400" in enhanced.remarks
    assert enhanced.spacing_mm == (0.8, 0.8)


def test_functional_groups_that_do_not_cover_the_frames_are_refused(tmp_path: Path) -> None:
    dataset = make_enhanced(slices(), [(0, 0, place) for place in range(5)])
    del dataset.PerFrameFunctionalGroupsSequence[3:]

    problem = refusal(save(dataset, tmp_path / "a.dcm"))

    assert problem.code == Reason.CORRUPT
    assert "describes 3 of 5 frames" in str(problem)


def cine(frames: np.ndarray, **elements: Any) -> Any:
    known = {"SOPClassUID": UltrasoundMultiFrameImageStorage, "Modality": "US", "NumberOfFrames": len(frames)}
    return make_dicom(frames[0], **(known | {"PixelData": frames.tobytes()} | elements))


def test_a_grey_cine_is_frames_in_their_order_without_affine(tmp_path: Path) -> None:
    frames = (slices(7) >> 4).astype(np.uint8)

    found = volume(save(cine(frames), tmp_path / "a.dcm"))

    np.testing.assert_array_equal(found.voxels, frames)
    assert found.modality == "US"
    assert found.voxels.dtype == np.int16
    assert found.affine is None


def test_a_colour_cine_is_rgb_from_0_to_1(tmp_path: Path) -> None:
    frames = np.stack([(slices(4) >> shift).astype(np.uint8) for shift in (0, 2, 4)], axis=-1)

    found = volume(save(cine(frames), tmp_path / "a.dcm"))

    np.testing.assert_allclose(found.voxels, frames / 255, atol=1e-6)
    assert found.voxels.shape == (4, 12, 10, 3)


def dose(offsets: list[float], origin: Any, orientation: Any = AXIAL, **elements: Any) -> Any:
    stored = slices(len(offsets)).astype("<u4")
    known: dict[str, Any] = {
        "SOPClassUID": RTDoseStorage,
        "Modality": "RTDOSE",
        "NumberOfFrames": len(offsets),
        "PixelData": stored.tobytes(),
        "DoseGridScaling": 0.001,
        "GridFrameOffsetVector": offsets,
        "ImagePositionPatient": list(origin),
        "ImageOrientationPatient": list(orientation),
        "PixelSpacing": [2, 2],
    }
    return make_dicom(stored[0], **(known | elements))


@pytest.mark.parametrize(("offsets", "step"), [([0, 3, 6], 3), ([-30, -27, -24], 3), ([0, -3, -6], 3)], ids=str)
def test_a_dose_grid_lies_where_its_offsets_say(tmp_path: Path, offsets: list[float], step: float) -> None:
    found = volume(save(dose(offsets, (5, 6, -30)), tmp_path / "a.dcm"))

    expected = slices(3) * 0.001
    falling = offsets[1] < offsets[0]
    np.testing.assert_allclose(found.voxels, expected[::-1] if falling else expected, rtol=1e-6)
    np.testing.assert_allclose(transform(found)[:3, 3], [5, 6, -36 if falling else -30])
    assert transform(found)[2, 2] == step


def nuclear(kind: str, frames: np.ndarray, **elements: Any) -> Any:
    """A Nuclear Medicine object of a kind of image, its detector somewhere."""
    detector = Dataset()
    detector.ImagePositionPatient, detector.ImageOrientationPatient = [1.0, 2.0, 3.0], list(AXIAL)
    known: dict[str, Any] = {
        "SOPClassUID": NuclearMedicineImageStorage,
        "Modality": "NM",
        "ImageType": ["ORIGINAL", "PRIMARY", kind, "EMISSION"],
        "DetectorInformationSequence": Sequence([detector]),
        "SpacingBetweenSlices": 4.0,
        "PixelSpacing": [4, 4],
    }
    return cine(frames, **(known | elements))


def gated(frames: np.ndarray, **elements: Any) -> Any:
    return nuclear("RECON GATED TOMO", frames, **elements)


def test_reconstructed_slices_of_nm_lie_along_their_normal(tmp_path: Path) -> None:
    found = volume(save(nuclear("RECON TOMO", slices(3), SliceVector=[1, 2, 3]), tmp_path / "a.dcm"))

    np.testing.assert_allclose(transform(found)[:3, 3], [1, 2, 3])
    assert found.offsets_mm == (0, 4, 8)


def test_gated_slices_of_nm_are_one_volume_for_each_time_of_the_heartbeat(tmp_path: Path) -> None:
    vectors: dict[str, Any] = {"SliceVector": [1, 2, 3, 1, 2, 3], "TimeSlotVector": [1, 1, 1, 2, 2, 2]}

    found = read_study(save(gated(slices(6), **vectors), tmp_path / "a.dcm"), "c1").volumes

    for place, one in enumerate(found):
        np.testing.assert_array_equal(one.voxels, slices(6)[3 * place : 3 * place + 3])
        assert one.offsets_mm == (0, 4, 8)
        assert one.remarks[0] == f"phase {place + 1} of 2 at the same positions, told apart by time position"
    assert len(found) == 2


def test_gated_slices_of_nm_that_do_not_say_where_they_lie_are_said_not_to(tmp_path: Path) -> None:
    found = volume(save(gated(slices(6), TimeSlotVector=[1, 1, 1, 2, 2, 2]), tmp_path / "a.dcm"))

    assert found.affine is None
    assert "check: reconstructed slices do not say where they lie: read as frames, without affine" in found.remarks


def test_a_cine_whose_pixels_are_not_square_is_said_to_be_kept(tmp_path: Path) -> None:
    found = volume(save(cine(slices(3), PixelAspectRatio=[2, 1]), tmp_path / "a.dcm"))

    assert found.voxels.shape == (3, 12, 10)
    assert "check: pixels are not square (2:1) and were kept as they are" in found.remarks


def test_a_private_sequence_says_nothing_of_a_frame(tmp_path: Path) -> None:
    dataset = make_enhanced(slices(), [(0, 0, 2.5 * place) for place in range(5)])
    for place, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        own = Dataset()
        own.RescaleSlope, own.RescaleIntercept, own.WindowCenter, own.WindowWidth = 7, 0, 1, 2
        own.ImagePositionPatient = [0.0, 0.0, -float(place)]
        group.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(0x0F, "SQ", Sequence([own]))

    found = volume(save(dataset, tmp_path / "a.dcm"))

    np.testing.assert_array_equal(found.voxels, slices().astype(int) - 1024)
    assert (found.offsets_mm, found.window) == ((0, 2.5, 5, 7.5, 10), (40, 400))


def test_directions_of_an_enhanced_diffusion_are_told_apart(tmp_path: Path) -> None:
    dataset = make_enhanced(slices(6), [(0, 0, 2.5 * (place // 2)) for place in range(6)], Modality="MR")
    for place, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        direction, diffusion = Dataset(), Dataset()
        direction.DiffusionGradientOrientation = [0.0, 1.0, 0.0] if place % 2 else [1.0, 0.0, 0.0]
        diffusion.DiffusionBValue = 1000.0
        diffusion.DiffusionGradientDirectionSequence = Sequence([direction])
        group.MRDiffusionSequence = Sequence([diffusion])

    found = read_study(save(dataset, tmp_path / "a.dcm"), "c1").volumes

    assert [volume.slices for volume in found] == [3, 3]
    assert all("told apart by diffusion direction" in volume.remarks[0] for volume in found)


@pytest.mark.parametrize("stored", ["PixelPaddingValue", "PixelPaddingRangeLimit"])
def test_padding_with_the_wrong_sign_is_padding_all_the_same(tmp_path: Path, stored: str) -> None:
    voxels = slices().astype("<i2")
    voxels[:, 0] = -2000
    wide: dict[str, Any] = {"BitsStored": 16, "HighBit": 15, "RescaleSlope": 1, "RescaleIntercept": -1024}
    for place, pixels in enumerate(voxels):
        one = make_slice(pixels, (0, 0, place), SOPInstanceUID=f"1.2.{place}", **wide)
        for keyword in {"PixelPaddingValue", stored}:
            one.add_new(keyword, "US", 2**16 - 2000)
        save(one, tmp_path / f"{place}.dcm")

    found = volume(tmp_path)

    assert found.voxels.min() == voxels[:, 1:].min() - 1024
    assert (found.voxels[:, 0] == found.voxels.min()).all()


def parametric_map(values: np.ndarray) -> Any:
    positions = [(0, 0, place) for place in range(len(values))]
    dataset = make_enhanced(slices(len(values)), positions, SOPClassUID=ParametricMapStorage, FloatPixelPaddingValue=-1)
    del dataset.PixelData, dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    dataset.BitsAllocated = 32
    del dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.FloatPixelData = values.tobytes()
    return dataset


def test_a_parametric_map_keeps_its_values_and_what_is_undefined_is_filled(tmp_path: Path) -> None:
    values = slices(3).astype("<f4") / 7
    values[1, 2, 3], values[2, 3, 4] = np.nan, -1

    found = volume(save(parametric_map(values), tmp_path / "a.dcm"))

    known = values >= 0
    assert found.voxels.dtype == np.float32
    np.testing.assert_array_equal(found.voxels[known], values[known])
    assert found.voxels[1, 2, 3] == found.voxels[2, 3, 4] == values[known].min()


def test_a_parametric_map_of_one_frame_is_an_image(tmp_path: Path) -> None:
    values = slices(1).astype("<f4") / 7
    values[0, 2, 3] = np.inf

    (image,) = read_study(save(parametric_map(values), tmp_path / "a.dcm"), "c1").images

    assert image.pixels[2, 3] == 0


def test_a_rescale_beyond_all_numbers_is_refused(tmp_path: Path) -> None:
    assert refusal(write_stack(tmp_path, slices(), RescaleSlope=1e300, RescaleIntercept=0)).code == Reason.CORRUPT


def test_a_frame_of_another_size_among_others_is_refused(tmp_path: Path) -> None:
    frames = [compressed_frame(ramp(12, 10), JPEGLSLossless), compressed_frame(ramp(10, 12), JPEGLSLossless)]
    dataset = make_enhanced(slices(2), [(0, 0, 0), (0, 0, 1)])
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)

    problem = refusal(tmp_path)

    assert problem.code == Reason.CORRUPT
    assert "another size" in str(problem)


def test_a_broken_slice_refuses_the_study_and_is_told_by_number(tmp_path: Path) -> None:
    write_stack(tmp_path, slices())
    path = tmp_path / "002.dcm"
    path.write_bytes(path.read_bytes()[:-20])

    problem = refusal(tmp_path)

    assert problem.code == Reason.CORRUPT
    assert "file 3 of 5 in its study" in str(problem)


def test_a_series_of_more_values_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_PIXELS", 599)

    problem = refusal(write_stack(tmp_path, slices()))

    assert problem.code == Reason.TOO_LARGE
    assert "a series of 5 slices of 12 x 10 pixels" in str(problem)


def test_encoded_pixels_are_let_go_while_the_volume_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    datasets: list[Dataset] = []

    def watched(*arguments: Any) -> Any:
        held.append(sum("PixelData" in one for one in datasets))
        return decode(*arguments)

    def remembered(*arguments: Any) -> Any:
        instance = open_instance(*arguments)
        datasets.append(instance.dataset)
        return instance

    monkeypatch.setattr(dicom, "open_instance", remembered)
    monkeypatch.setattr(reading, "decode", watched)

    volume(write_stack(tmp_path, slices()))

    assert held == [5, 4, 3, 2, 1]


def phases_of_one_file(path: Path) -> Path:
    """Three times of five slices, compressed, and no table of where its frames begin."""
    voxels = np.concatenate([slices() + np.uint16(100 * time) for time in range(3)])
    dataset = make_enhanced(voxels, [(0, 0, 2.5 * (place % 5)) for place in range(15)])
    for place, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence[0].TemporalPositionIndex = 1 + place // 5
    dataset.PixelData = encapsulate([compressed_frame(pixels, JPEGLSLossless) for pixels in voxels], has_bot=False)
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_phases_of_one_compressed_file_are_cut_out_of_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        passes.append(options["number_of_frames"])
        return generate_frames(*arguments, **options)

    monkeypatch.setattr(decoding, "generate_frames", counted)

    found = read_study(phases_of_one_file(tmp_path / "a.dcm"), "c1").volumes

    for time, one in enumerate(found):
        np.testing.assert_array_equal(one.voxels, slices().astype(int) + 100 * time - 1024)
    assert passes.count(15) == 1


def test_a_file_of_several_phases_is_let_go_after_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []
    instances: list[Instance] = []

    def remembered(*arguments: Any) -> Any:
        instances.append(open_instance(*arguments))
        return instances[-1]

    def watched(*arguments: Any) -> Any:
        held.append("PixelData" in instances[0].dataset)
        return reading.read_volume(*arguments)

    monkeypatch.setattr(dicom, "open_instance", remembered)
    monkeypatch.setattr(dicom, "read_volume", watched)

    assert len(read_study(phases_of_one_file(tmp_path / "a.dcm"), "c1").volumes) == 3

    assert held == [True, True, True]
    assert ("PixelData" in instances[0].dataset, instances[0].encoded) == (False, [])


def test_a_volume_cannot_be_changed_by_whoever_looks_at_it(tmp_path: Path) -> None:
    found = volume(write_stack(tmp_path, slices()))

    with pytest.raises(ValueError, match="read-only"):
        found.voxels[0, 0, 0] = 1


def test_a_shuffle_of_everything_that_means_nothing_is_the_same_study(tmp_path: Path) -> None:
    def study(folder: Path, seed: int) -> Study:
        rng = random.Random(seed)
        for series, modality, kind in (("1.5", "CT", None), ("1.6", "MR", MRImageStorage)):
            names = [f"{rng.random()}" for _ in range(5)]
            numbers = rng.sample(range(100), 5)
            more = {"SOPClassUID": kind} if kind else {}
            write_stack(
                folder,
                slices(),
                names=names,
                series=series,
                each=lambda place, numbers=numbers: {"InstanceNumber": numbers[place]},  # type: ignore[misc]
                Modality=modality,
                **more,
            )
        return read_study(folder, "c1")

    one, other = study(tmp_path / "one", 1), study(tmp_path / "other", 2)

    assert [volume.modality for volume in one.volumes] == ["CT", "MR"]
    for left, right in zip(one.volumes, other.volumes, strict=True):
        assert_same(left, right)


def test_an_enhanced_object_without_geometry_is_frames_without_affine(tmp_path: Path) -> None:
    path = save(cine(slices(), SOPClassUID=EnhancedMRImageStorage, Modality="MR"), tmp_path / "a.dcm")

    assert volume(path).affine is None


def test_one_slice_is_an_image_in_its_window(tmp_path: Path) -> None:
    write_stack(tmp_path, slices(1), **HU)

    (image,) = read_study(tmp_path, "c1").images

    expected = np.clip((slices(1)[0].astype(float) - 1024 - 39.5) / 399 + 0.5, 0, 1)
    np.testing.assert_allclose(image.pixels, expected, atol=1e-6)
    assert (image.modality, image.spacing_mm) == ("CT", (0.8, 0.8))


def test_a_screenshot_of_ct_is_a_film(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", ramp(), Modality="CT", SOPClassUID=SecondaryCaptureImageStorage)

    assert len(read_study(path, "c1").images) == 1


def test_a_slice_of_a_volume_in_several_objects_names_the_one_that_holds_it(tmp_path: Path) -> None:
    voxels = slices(8)
    for number, part in enumerate((range(4), range(4, 8))):
        made = make_enhanced(voxels[list(part)], [(0, 0, 2.5 * place) for place in part])
        made.SOPInstanceUID = f"1.2.3.4.{number}"
        save(made, tmp_path / f"{number}.dcm")

    found = volume(tmp_path)

    shown = [image.instance_uid for image in slice_images(found, range(found.slices))]
    assert shown == ["1.2.3.4.0"] * 4 + ["1.2.3.4.1"] * 4
