"""A case through its frozen encoders: Case -> Features, remembered on disk by content.

The cache holds what the encoders made of a study's files and of a note's text, under a digest of both the content
and the encoder; it holds no pixels, no text and no ids.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medmm.case import Note, RecordValue, Study
from medmm.config import EncoderConfig
from medmm.files import write_whole
from medmm.model.batch import Features, ImageLayout, Layout
from medmm.model.encoders import ImageEncoder, TextEncoder, load_image_encoder, load_text_encoder
from medmm.placement import Placement
from medmm.tensors import RecordBins, view_index

_log = logging.getLogger(__name__)

_FORMAT = "3"
"""Part of every key: changes when reading or encoding changes what a file is encoded to."""
_SAID = "said"
"""Name under which what is not a tensor stands in a file of the cache, as JSON."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedStudy:
    """All images of a study, encoded."""

    tokens: Tensor
    """(P, C) float16."""
    place: Tensor
    """(P, 3), see Features.place."""
    images: tuple[ImageLayout, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedNote:
    """A note, encoded."""

    tokens: Tensor
    """(T, W) float16."""
    word_of: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    remarks: tuple[str, ...]


class Encoders:
    """The two frozen encoders of a model."""

    def __init__(self, config: EncoderConfig, saved: Path | None = None) -> None:
        """Load them; `saved` is a model folder that keeps weights which are not embedded in a package."""
        image, text = (saved / "image_encoder.safetensors", saved / "text_encoder") if saved else (None, None)
        self.image: ImageEncoder = load_image_encoder(config, image if image and image.exists() else None)
        self.text: TextEncoder = load_text_encoder(config, text if text and text.exists() else None)
        if torch.cuda.is_available():
            self.image.cuda()
            self.text.cuda()

    @property
    def digest(self) -> str:
        """Stands for both encoders and their settings."""
        parts = (_FORMAT, self.image.digest, self.image.size, self.text.digest, self.text.max_words)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def encode_study(self, study: Study) -> EncodedStudy:
        """Each image through the image encoder, alone."""
        patches = [self.image.encode(image) for image in study.images]
        places = []
        for image, patch in zip(study.images, patches, strict=True):
            centres = torch.from_numpy(patch.placement.cell_centres(patch.grid)[patch.cells])
            view = torch.full((len(centres), 1), float(view_index(image)))
            places.append(torch.cat([centres, view], dim=1))
        layouts = tuple(ImageLayout(tuple(int(c) for c in p.cells), p.grid, p.placement) for p in patches)
        said = [*study.remarks, *(remark for image in study.images for remark in image.remarks)]
        return EncodedStudy(
            torch.cat([p.tokens for p in patches]), torch.cat(places), layouts, tuple(dict.fromkeys(said))
        )

    def encode_note(self, note: Note) -> EncodedNote:
        """The note through the text encoder."""
        words = self.text.encode(note)
        cut = (f"note cut after {self.text.max_words} word pieces",) if words.cut else ()
        return EncodedNote(words.tokens, words.word_of, words.spans, cut)

    def features(
        self,
        case_id: str,
        bins: RecordBins,
        study: EncodedStudy | None,
        note: EncodedNote | None,
        record: Mapping[str, RecordValue] | None,
    ) -> Features:
        """Put the sides of one case together."""
        vectors, taken = bins.encode(record or {})
        return Features(
            case_id=case_id,
            image=study.tokens if study else torch.zeros(0, self.image.width, dtype=torch.half),
            place=study.place if study else torch.zeros(0, 3),
            note=note.tokens if note else torch.zeros(0, self.text.width, dtype=torch.half),
            record=torch.from_numpy(vectors),
            taken=torch.from_numpy(taken),
            layout=Layout(study.images if study else (), note.word_of if note else (), note.spans if note else ()),
            remarks=(*(study.remarks if study else ()), *(note.remarks if note else ())),
        )


class FeatureCache:
    """Encoded studies and notes in a folder, one file each; writers may race, each file is whole."""

    def __init__(self, folder: Path, encoders: Encoders) -> None:
        self.folder = folder
        self.digest = encoders.digest

    def key(self, content: bytes) -> str:
        """Name of what the encoders make of `content` (the bytes of a note, or the digest of a study's files)."""
        return hashlib.sha256(self.digest.encode() + content).hexdigest()

    def study(self, key: str) -> EncodedStudy | None:
        """What was kept under `key`, if anything whole."""
        kept = self._load(key)
        if kept is None:
            return None
        tensors, said = kept
        images = tuple(
            ImageLayout(tuple(i["cells"]), (i["grid"][0], i["grid"][1]), Placement(**i["placement"]))
            for i in said["images"]
        )
        return EncodedStudy(tensors["tokens"], tensors["place"], images, tuple(said["remarks"]))

    def keep_study(self, key: str, study: EncodedStudy) -> None:
        """Remember an encoded study."""
        said = {"images": [asdict(image) for image in study.images], "remarks": study.remarks}
        self._save(key, {"tokens": study.tokens, "place": study.place}, said)

    def note(self, key: str) -> EncodedNote | None:
        """What was kept under `key`, if anything whole."""
        kept = self._load(key)
        if kept is None:
            return None
        tensors, said = kept
        spans = tuple((start, end) for start, end in said["spans"])
        return EncodedNote(tensors["tokens"], tuple(said["word_of"]), spans, tuple(said["remarks"]))

    def keep_note(self, key: str, note: EncodedNote) -> None:
        """Remember an encoded note: numbers and offsets, not its text."""
        self._save(
            key, {"tokens": note.tokens}, {"word_of": note.word_of, "spans": note.spans, "remarks": note.remarks}
        )

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _load(self, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read in one go, so that a writer cannot come between; what a full disk cut short is as good as none."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self._path(key)
        if not path.exists():
            return None
        try:
            tensors = load(path.read_bytes())
            return tensors, json.loads(tensors.pop(_SAID).numpy().tobytes())
        except (OSError, SafetensorError, KeyError) as problem:
            _log.warning("a file of the feature cache is damaged (%s) and is made again", type(problem).__name__)
            return None

    def _save(self, key: str, tensors: dict[str, Tensor], said: Mapping[str, Any]) -> None:
        from safetensors.torch import save_file

        content = {name: value.contiguous() for name, value in tensors.items()}
        content[_SAID] = torch.frombuffer(bytearray(json.dumps(said).encode()), dtype=torch.uint8)
        write_whole(self._path(key), lambda path: save_file(content, path))
