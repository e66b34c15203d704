"""Pictures of films for the screen: 8 bits, lossless, named by the digest of the file that they come from."""

from pathlib import Path

import numpy as np
import PIL.Image

from medmm.case import Image
from medmm.files import write_whole

FILMS = "films"
"""Name of the folder of pictures in a folder that was scored."""
_COMPRESSION = 1
"""Of zlib: a third of the time of its usual 6, for a sixth more bytes."""


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
    shown = PIL.Image.fromarray(np.rint(image.pixels * 255).astype(np.uint8))
    write_whole(path, lambda target: shown.save(target, format="PNG", compress_level=_COMPRESSION))
