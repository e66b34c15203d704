"""Pictures of films for the screen: 8 bits, lossless, named by the digest of the file that they come from."""

from pathlib import Path

import imagecodecs
import numpy as np

from medmm.case import Image
from medmm.files import write_whole

FILMS = "films"
"""Name of the folder of pictures in a folder that was scored."""
_COMPRESSION = 1
"""Of zlib, without looking for repetitions, of which films have few, and with one filter for all lines: a third of the
time and three quarters of the bytes of the same level as Pillow writes it."""


def picture_path(folder: Path, digest: str) -> Path:
    """Where the picture of the image with this digest is.

    Args:
        folder: FILMS of the scored folder, OUT. What is not there may be in OUT/<any>/films, where another part of the
            cohort was scored.
        digest: of the image.
    """
    path = _path(folder, digest)
    return path if path.exists() else next(folder.parent.glob(f"*/{FILMS}/{path.name}"), path)


def write_picture(folder: Path, image: Image) -> None:
    """Write the pixels of one image that were read, all or a part, as PNG; one that is there already is left alone."""
    if not _path(folder, image.digest).exists():
        shown = np.multiply(image.pixels, np.float32(255))
        shown = np.rint(shown, out=shown).astype(np.uint8)
        kind = imagecodecs.PNG
        filtered = {"strategy": kind.STRATEGY.HUFFMAN_ONLY, "filter": kind.FILTER.AVG}
        room = 2 * shown.nbytes + 8 * len(shown) + 4096  # for a picture of two columns its own is too little
        put_picture(folder, image.digest, bytes(imagecodecs.png_encode(shown, _COMPRESSION, out=room, **filtered)))


def put_picture(folder: Path, digest: str, picture: bytes) -> None:
    """Put a picture that was written before, by its bytes, into another folder; likewise."""
    path = _path(folder, digest)
    if not path.exists():
        write_whole(path, lambda target: target.write_bytes(picture))


def _path(folder: Path, digest: str) -> Path:
    return folder / f"{digest}.png"
