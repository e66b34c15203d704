"""Which codec decodes which transfer syntax, and one codec that pydicom does not know: JPEG by imagecodecs."""

from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
CODECS = {
    uid.RLELossless: "pydicom",
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

DECODER_DEPENDENCIES = {syntax: ("numpy", "imagecodecs") for syntax, codec in CODECS.items() if codec == "imagecodecs"}
"""What pydicom asks of a plugin."""


def is_available(syntax: str) -> bool:
    """Whether this plugin decodes a transfer syntax; pydicom asks."""
    return syntax in DECODER_DEPENDENCIES


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
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


for _syntax in DECODER_DEPENDENCIES:
    if "imagecodecs" not in get_decoder(_syntax).available_plugins:  # the module may be loaded twice
        get_decoder(_syntax).add_plugin("imagecodecs", (__name__, "decode_frame"))
