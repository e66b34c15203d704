"""Which codec decodes which transfer syntax, and those that pydicom does not know: imagecodecs, and Pillow in part."""

import struct
from io import BytesIO

import numpy as np
from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
CODECS = {
    uid.RLELossless: "imagecodecs",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "imagecodecs",
    uid.JPEGLossless: "imagecodecs",
    uid.JPEGLosslessSV1: "imagecodecs",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
}
"""pydicom's plugin for each compressed syntax. Never gdcm, even if installed: it ends the process on a corrupt JPEG."""
REDUCED = "reduced"
"""pydicom's plugin that decodes JPEG 2000 at less than its resolution."""
JPEG_2000 = frozenset(CODECS) & frozenset(uid.JPEG2000TransferSyntaxes)
"""Syntaxes that hold a picture at several resolutions."""

DECODER_DEPENDENCIES = {
    **{syntax: ("numpy", "imagecodecs") for syntax, codec in CODECS.items() if codec == "imagecodecs"},
    **dict.fromkeys(JPEG_2000, ("numpy", "PIL")),
}
"""What pydicom asks of a plugin."""


def is_available(syntax: str) -> bool:
    """Whether this module decodes a transfer syntax; pydicom asks."""
    return syntax in DECODER_DEPENDENCIES


def decode_jpeg(frame: bytes, runner: DecodeRunner) -> bytes:
    """Decode one JPEG frame of 8 to 16 bits, lossless or lossy, with libjpeg-turbo; colours stay as they are stored.

    Args:
        frame: the codestream (ITU-T T.81).
        runner: pydicom's view of the header; is told how many bits the decoded samples take.
    """
    import imagecodecs

    colours = "RGB" if runner.samples_per_pixel == 3 else None  # from RGB to RGB: no conversion
    decoded = imagecodecs.jpeg8_decode(frame, colorspace=colours, outcolorspace=colours)
    runner.set_option("bits_allocated", 8 * decoded.dtype.itemsize)
    runner.set_option("planar_configuration", 0)
    return bytes(decoded.tobytes())


def decode_rle(frame: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame of run lengths (PS3.5 G): a segment for each byte of a sample, the most significant first.

    Args:
        frame: header and segments.
        runner: pydicom's view of the header; is told that samples come plane by plane.

    Raises:
        ValueError: if it holds other segments than its header asks for, or one of them is too short.
    """
    import imagecodecs

    pixels, size, rest = runner.rows * runner.columns, *divmod(runner.bits_allocated, 8)
    count, *offsets = struct.unpack_from("<16L", frame)
    if rest or count != runner.samples_per_pixel * size or count > len(offsets):
        raise ValueError(f"{count} segments for {runner.samples_per_pixel} samples of {runner.bits_allocated} bits")
    decoded = np.empty((runner.samples_per_pixel, pixels, size), np.uint8)
    ends = [*offsets[1:count], len(frame)]
    for number, (start, end) in enumerate(zip(offsets[:count], ends, strict=True)):
        sample, byte = divmod(number, size)
        segment = imagecodecs.packbits_decode(frame[start:end])
        decoded[sample, :, size - 1 - byte] = np.frombuffer(segment, np.uint8, pixels)
    runner.set_option("planar_configuration", 1)
    return decoded.tobytes()


def decode_reduced(frame: bytes, runner: DecodeRunner) -> bytes:
    """Decode one JPEG 2000 frame at 1 / 2 ** `reduce` of its resolution, with OpenJPEG by way of Pillow.

    Pillow shifts samples up to 8 or 16 bits, and signed ones to begin at zero; both are undone. It rounds sides where
    a codestream rounds them up (ISO/IEC 15444-1 B.5), and takes the picture for a broken one: it is told of sides that
    divide.

    Args:
        frame: the codestream (ISO/IEC 15444-1), grey of 1 to 16 bits or three colours of 8.
        runner: pydicom's view of the header, with the option `reduce`; is told the size of what comes.
    """
    import PIL.Image

    picture = PIL.Image.open(BytesIO(frame), formats=("JPEG2000",))
    reduce = runner.get_option("reduce")
    picture.reduce = reduce  # type: ignore[method-assign]  # a property of the plugin's own
    picture._size = tuple(-(-side >> reduce) << reduce for side in picture.size)
    values = np.asarray(picture)
    if values.ndim == 2:
        precision = runner.get_option("j2k_precision")
        values = values >> (8 * values.itemsize - precision)
        if runner.get_option("j2k_is_signed"):
            values = (values.astype(np.int32) - 2 ** (precision - 1)).astype(f"i{values.itemsize}")
    elif runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
        runner.set_option("photometric_interpretation", "RGB")
    runner.set_option("rows", values.shape[0])
    runner.set_option("columns", values.shape[1])
    runner.set_option("bits_allocated", 8 * values.itemsize)
    return values.tobytes()


def _add(syntax: uid.UID, name: str, function: str) -> None:
    """Tell pydicom of a function of this module; the module may be loaded twice."""
    decoder = get_decoder(syntax)
    if name not in decoder.available_plugins:
        decoder.add_plugin(name, (__name__, function))


for _syntax, _codec in CODECS.items():
    if _codec == "imagecodecs":
        _add(_syntax, _codec, "decode_rle" if _syntax == uid.RLELossless else "decode_jpeg")
    elif _syntax in JPEG_2000:
        _add(_syntax, REDUCED, "decode_reduced")
