"""Pixels of a DICOM object: whether its header can be right, and its frames, decoded one at a time."""

from collections.abc import Iterator, Sequence

import numpy as np
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import get_j2k_parameters

from medmm.errors import Reason
from medmm.read.dicom.codecs import CODECS, JPEG_2000, NATIVE, REDUCED
from medmm.read.dicom.codestream import coded_size, halvings
from medmm.read.dicom.header import is_encoded_in, sop_class
from medmm.read.dicom.instance import EXPORT, PIXELS
from medmm.read.guard import MAX_PIXELS, RefusedError

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
RETIRED = ("HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420")
"""Photometric interpretations that are named when they are refused; any other word may be anything."""
MAX_FRAMES = 2**16
"""More frames than this in one file are refused."""
_UNSIGNED = (uid.RLELossless, uid.JPEGLossless, uid.JPEGLosslessSV1)
"""Compressed syntaxes whose streams know no sign; pydicom restores it for JPEG-LS and JPEG 2000."""
_OFFSETS = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")


def check_header(dataset: Dataset) -> None:
    """Refuse an image object that cannot be read, before anything is allocated.

    Raises:
        RefusedError: UNSUPPORTED, NO_PIXELS, TOO_LARGE or CORRUPT.
    """
    if "Whole Slide" in sop_class(dataset).name:
        raise RefusedError(Reason.UNSUPPORTED, "is a whole slide", "medmm reads films, volumes and photographs")
    _check_presence(dataset)
    _check_shape(dataset)
    _check_photometric(dataset)
    _check_codec(dataset)
    _check_length(dataset)


def frames_in(dataset: Dataset) -> int:
    """Return Number of Frames (0028,0008)."""
    return int(dataset.get("NumberOfFrames") or 1)


def decode(
    dataset: Dataset, indices: Sequence[int], encoded: list[bytes] | None = None, halve: int = 0
) -> Iterator[tuple[np.ndarray, int]]:
    """Decode some frames of an object whose header was checked.

    Args:
        dataset: the object.
        indices: which frames, ascending, counted from 0.
        encoded: all of its frames, still encoded, if some were asked for before; else empty, and is filled.
        halve: how often decoding is to halve their size, see `halvings_in`.

    Yields:
        Stored grey values or palette indices (rows, columns), or RGB (rows, columns, 3); and their Bits Stored.

    Raises:
        RefusedError: CORRUPT or UNSUPPORTED; and whatever a codec throws.
    """
    syntax = is_encoded_in(dataset)
    native = syntax in NATIVE
    for keyword in _OFFSETS:  # frames are found without it, here and by pydicom alike
        if keyword in dataset:
            del dataset[keyword]
    if not native and len(indices) < frames_in(dataset):
        dataset = _only(dataset, indices, [] if encoded is None else encoded)
    whole = len(indices) == frames_in(dataset)
    decoded = get_decoder(syntax).iter_array(
        dataset,
        indices=None if whole else indices,
        decoding_plugin=REDUCED if halve else CODECS.get(syntax, ""),
        # What lies above the bits stored is no picture: PS3.5 8.1.1.
        correct_unused_bits=native or syntax in _UNSIGNED,
        reduce=halve,
    )
    sizes = _coded_sizes(dataset) if not native and syntax != uid.RLELossless else None
    grey = dataset.PhotometricInterpretation in (*GREY, "PALETTE COLOR")
    expected = (int(dataset.Rows), int(dataset.Columns), 1 if grey else 3)
    count = 0
    while count < len(indices):
        if sizes is not None and next(sizes, None) != expected:
            raise RefusedError(Reason.CORRUPT, "holds a picture of another size than its header declares", EXPORT)
        frame = next(decoded, None)
        if frame is None:
            raise RefusedError(Reason.CORRUPT, f"holds {count} of {len(indices)} frames", EXPORT)
        array, properties = frame
        if not grey and properties["photometric_interpretation"] != "RGB":
            raise RefusedError(Reason.UNSUPPORTED, "has colours that do not become RGB", "Export it as RGB")
        yield array, int(properties.get("bits_stored", 0))
        count += 1


def halvings_to(dataset: Dataset, enough: int) -> int:
    """Return how often the size of a film can be halved while both its sides have `enough` pixels.

    Where a smaller picture would not be like the whole it is 0: indices of a palette do not mix, nor does pixel padding
    with the picture, and of values of few bits the means are others. So it is for one of several frames.
    """
    if frames_in(dataset) > 1 or not _mixes(dataset):
        return 0
    room = min(int(dataset.Rows), int(dataset.Columns)) // enough
    return max(0, room.bit_length() - 1)


def halvings_in(dataset: Dataset) -> int:
    """Return how often decoding itself can halve the size of a film: JPEG 2000 alone holds smaller pictures of itself.

    It is 0 where -1 would mix with 0, since the codestream knows no sign and the header does.
    """
    if is_encoded_in(dataset) not in JPEG_2000:
        return 0
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    if dataset.PixelRepresentation == 1 and not get_j2k_parameters(frame).get("is_signed"):
        return 0
    return halvings(frame)


def _mixes(dataset: Dataset) -> bool:
    """Whether the mean of two stored values of an object is one that could lie between them."""
    stored, photometric = int(dataset.get("BitsStored") or 0), dataset.PhotometricInterpretation
    if photometric in GREY:
        return 8 <= stored <= 16 and "PixelPaddingValue" not in dataset
    return stored == 8 and photometric != "PALETTE COLOR"


def _only(dataset: Dataset, indices: Sequence[int], encoded: list[bytes]) -> Dataset:
    """Return an object with some of the frames; pydicom would look for each of them from the first on."""
    count = frames_in(dataset)
    if not encoded:
        encoded.extend(generate_frames(dataset.PixelData, number_of_frames=count))
    if len(encoded) <= max(indices):
        raise RefusedError(Reason.CORRUPT, f"holds {len(encoded)} of {count} frames", EXPORT)
    some = Dataset()
    some.update({element.tag: element for element in dataset.group_dataset(0x0028)})
    some.file_meta = dataset.file_meta
    some.add_new("NumberOfFrames", "IS", len(indices))  # an element of its own: the object keeps its number
    some.add_new("PixelData", "OB", encapsulate([encoded[index] for index in indices], has_bot=False))
    return some


def _coded_sizes(dataset: Dataset) -> Iterator[tuple[int, int, int]]:
    """What each frame says of its own size: a decoder would allocate it, and 20 x 30 look like 30 x 20."""
    return map(coded_size, generate_frames(dataset.PixelData, number_of_frames=frames_in(dataset)))


def _check_presence(dataset: Dataset) -> None:
    """Refuse an object without pixels, or with several kinds of them."""
    present = [keyword for keyword in PIXELS if keyword in dataset]
    if not present and "Rows" not in dataset:
        if not sop_class(dataset).name:
            raise RefusedError(Reason.CORRUPT, "does not say what it holds: it may have been cut short", EXPORT)
        raise RefusedError(Reason.NO_PIXELS, "is an image object without pixel data", EXPORT)
    if len(present) != 1 or not dataset[present[0]].value:
        raise RefusedError(Reason.CORRUPT, "declares an image and holds no pixels: it may have been cut short", EXPORT)


def _check_shape(dataset: Dataset) -> None:
    """Refuse a size that is no size, or is too much."""
    rows, columns, frames = int(dataset.Rows), int(dataset.Columns), frames_in(dataset)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if min(rows, columns, frames) < 1:
        problem = f"declares {rows} x {columns} pixels" if frames > 0 else f"declares {frames} frames"
        raise RefusedError(Reason.CORRUPT, problem, EXPORT)
    if frames > MAX_FRAMES or rows * columns * samples * frames > MAX_PIXELS:
        problem = f"declares {rows} x {columns} x {samples} values" + (f" in {frames} frames" if frames > 1 else "")
        remedy = f"At most {MAX_PIXELS} values and {MAX_FRAMES} frames are read: reduce it, or check its header"
        raise RefusedError(Reason.TOO_LARGE, problem, remedy)


def _check_photometric(dataset: Dataset) -> None:
    """Refuse colours that DICOM does not define, and a number of samples that does not go with them."""
    photometric, samples = str(dataset.get("PhotometricInterpretation", "")), int(dataset.get("SamplesPerPixel") or 1)
    if photometric not in GREY + COLOUR:
        known = photometric if photometric in RETIRED else "of no known kind"
        problem = f"has the photometric interpretation {known}"
        raise RefusedError(Reason.UNSUPPORTED, problem, f"Export it as one of {', '.join(GREY + COLOUR)}")
    if samples != (1 if photometric in (*GREY, "PALETTE COLOR") else 3):
        raise RefusedError(Reason.CORRUPT, f"declares {photometric} with {samples} samples a pixel", EXPORT)


def _check_codec(dataset: Dataset) -> None:
    """Refuse a transfer syntax for which there is no codec."""
    syntax = is_encoded_in(dataset)
    codec = CODECS.get(syntax, "")
    if syntax not in NATIVE and (not codec or codec not in get_decoder(syntax).available_plugins):
        name = syntax.name if syntax and syntax.is_valid else "one that is not stated"
        problem = f"is encoded in a transfer syntax that is not read here: {name}"
        remedy = "Convert it to Explicit VR Little Endian, for instance with dcmconv or gdcmconv --raw"
        raise RefusedError(Reason.UNSUPPORTED, problem, remedy)


def _check_length(dataset: Dataset) -> None:
    """Refuse fewer bytes than the declared frames take: all of them if native, else an item's header each."""
    keyword = next(keyword for keyword in PIXELS if keyword in dataset)
    frames, length = frames_in(dataset), len(dataset[keyword].value)
    if is_encoded_in(dataset) in NATIVE:
        bits = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(keyword) or int(dataset.BitsAllocated)
        values = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1) * frames
        halved = dataset.PhotometricInterpretation == "YBR_FULL_422"  # two pixels share their colour
        expected = (values * bits + 7) // 8 * (2 if halved else 3) // 3
    else:
        expected = 8 * frames
    if length < expected:
        problem = f"holds {length} bytes of pixels, and declares at least {expected}: it may have been cut short"
        raise RefusedError(Reason.CORRUPT, problem, EXPORT)
