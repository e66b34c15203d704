"""A case as the frozen encoders left it, kept with all that is shown of it, and recalled for another model.

What taught copies say is not kept: it is computed anew, from what the frozen network's trunk made of each picture. So
models that were taught on other cases share what their common encoders made.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from medmm.errors import DataError, Reason
from medmm.model.cache import FeatureCache
from medmm.model.encode import EncodedCase, Encoders
from medmm.result import Film
from medmm.score.kept import Kept
from medmm.score.seen import Seen
from medmm.write.picture import picture_path, put_picture


def keep(kept: Kept, inputs: str, encoders: Encoders, case: EncodedCase, seen: Seen, films: Path) -> None:
    """Keep a case that was encoded, and its pictures.

    Args:
        kept: where.
        inputs: see `inputs_of`.
        encoders: they made it.
        case: with its trunks.
        seen: what is shown of it.
        films: folder of its pictures.

    Raises:
        OSError: if it cannot be written.
    """
    pictures = {film.digest: picture_path(films, film.digest).read_bytes() for film in seen.films}
    tensors = {name: torch.frombuffer(bytearray(picture), dtype=torch.uint8) for name, picture in pictures.items()}
    cache = FeatureCache(kept.shelf.folder, encoders)
    cache.keep_case(kept.key(inputs), encoders.without_taught(case), tensors, asdict(seen))


def recall(kept: Kept, inputs: str, case_id: str, encoders: Encoders, films: Path) -> tuple[EncodedCase, Seen]:
    """A case that was kept, as these encoders would have left it; its pictures are put into `films`.

    Raises:
        DataError: CORRUPT if it is not there any more.
    """
    found = FeatureCache(kept.shelf.folder, encoders).case(kept.key(inputs), case_id)
    if found is None:
        problem = "was taken out of the cache while it was wanted from there"
        raise DataError(case_id, Reason.CORRUPT, problem, "Run the same command again")
    case, tensors, beside = found
    for digest, picture in tensors.items():
        put_picture(films, digest, picture.numpy().tobytes())
    return encoders.with_taught(case), _seen_of(beside)


def _seen_of(said: dict[str, Any]) -> Seen:
    shown = tuple(Film(**film | {"remarks": tuple(film["remarks"])}) for film in said.pop("films"))
    return Seen(films=shown, doubts=tuple(said.pop("doubts")), **said)
