"""What encoders made of studies, notes and cases, remembered on disk by content.

A study and a note are kept for training under a digest of both the content and the encoders; they hold no pixels, no
text and no ids. A case is kept for scoring, with all that is shown of it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from medmm.config import Flips
from medmm.files import write_whole
from medmm.model.batch import ImageLayout
from medmm.model.encode import EncodedCase, EncodedNote, EncodedStudy, Encoders
from medmm.model.half import to_half
from medmm.model.image_encoder import Trunk
from medmm.model.shelf import Shelf
from medmm.placement import Placement
from medmm.slices import Picture

_MAPS = "maps"
_SAID = "said"
"""Name under which what is not a tensor stands in a file of the cache, as JSON."""
_log = logging.getLogger(__name__)

Tensors = dict[str, Tensor]
Made = TypeVar("Made")


class FeatureCache:
    """Encoded studies, notes and cases in a folder, one file each; writers may race, each file is whole.

    Studies and notes are kept with what taught copies say of them, so each set of copies has its own; of a case what
    frozen encoders made is kept, under a key of `Encoders.frozen_digest`, and copies are asked again.
    """

    def __init__(self, folder: Path, encoders: Encoders) -> None:
        self.shelf = Shelf(folder, encoders.digest)
        self.device = encoders.image.device

    def key(self, content: bytes) -> str:
        """See Shelf.key."""
        return self.shelf.key(content)

    def has(self, key: str) -> bool:
        """See Shelf.has."""
        return self.shelf.has(key)

    def study(self, key: str) -> EncodedStudy | None:
        """What was kept under `key`, if anything whole."""
        return self._kept(key, lambda tensors, said: _study_of(tensors, said, self.device))

    def keep_study(self, key: str, study: EncodedStudy) -> None:
        """Remember an encoded study, without its trunks."""
        self._save(key, {"tokens": study.tokens, "place": study.place}, _said_of_study(study))

    def note(self, key: str) -> EncodedNote | None:
        """What was kept under `key`, if anything whole."""
        return self._kept(key, _note_of)

    def keep_note(self, key: str, note: EncodedNote) -> None:
        """Remember an encoded note: numbers and offsets, not its text."""
        self._save(key, {"tokens": note.tokens, "terms": note.terms}, _said_of_note(note))

    def case(self, key: str, case_id: str) -> tuple[EncodedCase, Tensors, dict[str, Any]] | None:
        """The case that was kept under `key`, if anything whole: encoded, and what else was kept of it."""

        def made(tensors: Tensors, said: dict[str, Any]) -> tuple[EncodedCase, Tensors, dict[str, Any]]:
            sides = {name: _below(name, tensors) for name in ("study", "prior", "note", "beside")}
            study, prior = (
                _study_of(sides[name], said[name], self.device) if said[name] else None for name in ("study", "prior")
            )
            note = _note_of(sides["note"], said["note"]) if said["note"] else None
            encoded = EncodedCase(case_id, study, prior, note, said["record"], tuple(said["remarks"]))
            return encoded, sides["beside"], said["beside"]

        return self._kept(key, made)

    def keep_case(self, key: str, case: EncodedCase, tensors: Tensors, beside: Mapping[str, Any]) -> None:
        """Remember a case as the frozen encoders left it, its trunks too.

        Args:
            key: name of its content.
            case: without what taught copies say, see Encoders.without_taught. Its id is not kept.
            tensors: what else is kept of it.
            beside: likewise, as JSON takes it.
        """
        kept = {f"beside.{name}": value for name, value in tensors.items()}
        said: dict[str, Any] = {"record": dict(case.record), "remarks": case.remarks, "beside": beside}
        for name, study in (("study", case.study), ("prior", case.prior)):
            said[name] = _said_of_study(study) if study else None
            if study:
                kept |= {f"{name}.tokens": study.tokens, f"{name}.place": study.place}
                said[name]["trunks"] = _flips_of(study.trunks)
                kept |= {f"{name}.{trunk}": maps for trunk, maps in _tensors_of(study.trunks).items()}
        said["note"] = _said_of_note(case.note) if case.note else None
        if case.note:
            kept |= {"note.tokens": case.note.tokens, "note.terms": case.note.terms}
        self._save(key, kept, said)

    def keep_maps(self, key: str, maps: Tensor, trunks: Sequence[Trunk | None] = ()) -> None:
        """Remember what `Encoders.encode_views` made of a study, and the trunks of its flat pictures."""
        kept = {name: to_half(one) for name, one in _tensors_of(trunks).items()}
        self._save(key, {_MAPS: maps, **kept}, {"trunks": _flips_of(trunks)})

    def trunks(self, key: str) -> tuple[Trunk, ...]:
        """What the trunk made of each flat picture of a study that was kept with its trunks; its views are not read."""
        from safetensors import safe_open

        with safe_open(self.shelf.path(key), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys() if name != _MAPS}  # noqa: SIM118  # no dict
        said = json.loads(tensors.pop(_SAID).numpy().tobytes())
        return tuple(trunk for trunk in _trunks_of(tensors, said, self.device) if trunk is not None)

    def maps(self, key: str, views: Sequence[int], pictures: Sequence[int]) -> Tensor:
        """Of each of some flat pictures of a study one view, 0 for the picture itself: (F, C, N, N) float16.

        Nothing else of the file is read.
        """
        from safetensors import safe_open

        with safe_open(self.shelf.path(key), framework="pt") as file:
            kept = file.get_slice(_MAPS)
            return torch.stack([kept[view, picture] for view, picture in zip(views, pictures, strict=True)])

    def _kept(self, key: str, make: Callable[[Tensors, dict[str, Any]], Made]) -> Made | None:
        """Read in one go, so that a writer cannot come between; what is damaged is taken away, and as good as none."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self.shelf.path(key)
        if not path.exists():
            return None
        try:
            tensors = load(path.read_bytes())
            return make(tensors, json.loads(tensors.pop(_SAID).numpy().tobytes()))
        except (OSError, SafetensorError, LookupError, TypeError, ValueError) as problem:
            _log.warning("a file of the feature cache is damaged (%s) and is made again", type(problem).__name__)
            path.unlink(missing_ok=True)
            return None

    def _save(self, key: str, tensors: Tensors, said: Mapping[str, Any]) -> None:
        from safetensors.torch import save_file

        content = {name: value.contiguous() for name, value in tensors.items()}
        content[_SAID] = torch.frombuffer(bytearray(json.dumps(said).encode()), dtype=torch.uint8)
        write_whole(self.shelf.path(key), lambda path: save_file(content, path))


def _below(name: str, tensors: Tensors) -> Tensors:
    """Those of a side, by their own names."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def _said_of_study(study: EncodedStudy) -> dict[str, Any]:
    """What is no tensor of it."""
    return {
        "images": [asdict(image) for image in study.images],
        "remarks": study.remarks,
        "time": study.time.isoformat() if study.time else "",
        "flat": study.flat,
    }


def _study_of(tensors: Tensors, said: Mapping[str, Any], device: torch.device) -> EncodedStudy:
    """A study out of its tensors and what else was said of it."""
    return EncodedStudy(
        tokens=tensors["tokens"],
        place=tensors["place"],
        images=tuple(
            ImageLayout(
                tuple(i["cells"]), (i["grid"][0], i["grid"][1]), Placement(**i["placement"]), Picture(**i["picture"])
            )
            for i in said["images"]
        ),
        remarks=tuple(said["remarks"]),
        time=datetime.fromisoformat(said["time"]) if said["time"] else None,
        flat=tuple(said["flat"]),
        trunks=_trunks_of(tensors, said, device),
    )


def _tensors_of(trunks: Sequence[Trunk | None]) -> Tensors:
    """What trunks made, by the number of the picture."""
    return {f"trunk{number}": one.maps.cpu() for number, one in enumerate(trunks) if one}


def _flips_of(trunks: Sequence[Trunk | None]) -> list[Flips | None]:
    """What is no tensor of them."""
    return [trunk.flips if trunk else None for trunk in trunks]


def _trunks_of(tensors: Tensors, said: Mapping[str, Any], device: torch.device) -> tuple[Trunk | None, ...]:
    """Trunks out of their tensors and flips, if they were kept, where the image encoder is."""

    def trunk(number: int, flips: Flips) -> Trunk:
        maps = tensors[f"trunk{number}"].float().to(device)
        return Trunk(maps.contiguous(memory_format=torch.channels_last), flips)

    return tuple(trunk(n, flips) if flips else None for n, flips in enumerate(said.get("trunks", ())))


def _said_of_note(note: EncodedNote) -> dict[str, Any]:
    """What is no tensor of it."""
    return {"word_of": note.word_of, "spans": note.spans, "remarks": note.remarks}


def _note_of(tensors: Tensors, said: Mapping[str, Any]) -> EncodedNote:
    """A note out of its tensors and what else was said of it."""
    spans = tuple((start, end) for start, end in said["spans"])
    return EncodedNote(tensors["tokens"], tensors["terms"], tuple(said["word_of"]), spans, tuple(said["remarks"]))
