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
    path = folder / f"{digest}.png"
    return path if path.exists() else next(folder.parent.glob(f"*/{FILMS}/{path.name}"), path)


def write_picture(folder: Path, image: Image) -> None:
    """Write the pixels of one image that were read, all or a part, as PNG; one that is there already is left alone."""
    path = folder / f"{image.digest}.png"
    if path.exists():
        return
    shown = np.rint(image.pixels * 255).astype(np.uint8)
    kind = imagecodecs.PNG
    encoded = imagecodecs.png_encode(shown, _COMPRESSION, strategy=kind.STRATEGY.HUFFMAN_ONLY, filter=kind.FILTER.AVG)
    write_whole(path, lambda target: target.write_bytes(encoded))
