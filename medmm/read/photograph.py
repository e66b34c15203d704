"""PNG and JPEG to Image: upright as the camera meant it, grey or RGB, 8 or 16 bits."""

from io import BytesIO

import numpy as np
import PIL.Image
from PIL import ImageOps

from medmm.case import Image
from medmm.errors import Reason
from medmm.read.guard import MAX_PIXELS, RefusedError, guarded
from medmm.read.remark import concern

MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
"""How PNG and JPEG files begin."""
_ORIENTATION = 0x0112  # EXIF tag
_ON_BLACK = "transparent parts laid on black"


def read_photograph(content: bytes, digest: str) -> Image:
    """Decode a PNG or JPEG.

    Orientation (EXIF) is applied; transparent parts are laid on black. Pillow reads colour PNG of 16 bits as 8 bits.

    Args:
        content: the file.
        digest: its SHA-256.

    Raises:
        RefusedError: TOO_LARGE, or CORRUPT if it does not decode.
    """
    with guarded("does not decode", "Export it again as PNG or JPEG"):
        try:
            picture: PIL.Image.Image = PIL.Image.open(BytesIO(content), formats=("PNG", "JPEG"))
        except PIL.Image.DecompressionBombError:
            raise RefusedError(Reason.TOO_LARGE, "declares too many pixels", "Reduce it") from None
        if picture.width * picture.height * len(picture.getbands()) > MAX_PIXELS:
            raise RefusedError(Reason.TOO_LARGE, f"declares more than {MAX_PIXELS} values", "Reduce it")
        taken = {
            "Columns": str(picture.width),
            "Format": str(picture.format),
            "Mode": picture.mode,
            "Rows": str(picture.height),
        }
        remarks = []
        if getattr(picture, "n_frames", 1) > 1:
            remarks.append(concern("first of several pictures in the file"))
        if picture.getexif().get(_ORIENTATION, 1) != 1:
            remarks.append("turned as its EXIF orientation says")
        picture = ImageOps.exif_transpose(picture)
        if picture.has_transparency_data:
            picture = _on_black(picture, remarks)
        return Image(pixels=_pixels(picture), digest=digest, remarks=tuple(remarks), acquisition=taken)


def _on_black(picture: PIL.Image.Image, remarks: list[str]) -> PIL.Image.Image:
    """Lay a picture with transparent parts on black; grey stays grey."""
    if picture.mode.startswith("I"):  # grey of 16 bits, of which one value (PNG 11.3.2.1, tRNS) is transparent
        values = np.asarray(picture)
        hidden = values == picture.info["transparency"]
        if hidden.any():
            remarks.append(_ON_BLACK)
        return PIL.Image.fromarray(np.where(hidden, 0, values).astype(np.uint16))
    grey = picture.mode in ("1", "L", "LA", "La")
    layered = picture.convert("RGBA")
    if np.asarray(layered)[..., 3].min() < 255:
        remarks.append(_ON_BLACK)
    ground = PIL.Image.new("RGBA", layered.size, (0, 0, 0, 255))
    return PIL.Image.alpha_composite(ground, layered).convert("L" if grey else "RGB")


def _pixels(picture: PIL.Image.Image) -> np.ndarray:
    """Return float32 in [0, 1], (rows, columns) or (rows, columns, 3)."""
    if picture.mode.startswith("I"):  # grey of 16 bits
        return (np.asarray(picture).astype(np.float32) / np.float32(65535)).clip(0.0, 1.0)
    grey = picture.mode in ("1", "L", "LA")
    return np.asarray(picture.convert("L" if grey else "RGB"), dtype=np.float32) / np.float32(255)
