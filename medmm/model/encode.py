"""A case through its frozen encoders: Case -> Features.

Every image, every volume and every note goes through its encoder alone and in float32: what a case is encoded to
cannot depend on its batch-mates, and no padding exists here.
"""

from __future__ import annotations

import copy
import ctypes
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from medmm.case import Case, Image, Note, Record, RecordValue, Study, Volume
from medmm.config import AdaptConfig, EncoderConfig, Flips
from medmm.errors import ModelError
from medmm.model.batch import PLACE, PRIOR, Features, ImageLayout, Layout
from medmm.model.image_encoder import ImageEncoder, Patches, Trunk
from medmm.model.image_networks import load_image_encoder
from medmm.model.taught import Taught, learnt_of
from medmm.model.terms import terms_of
from medmm.model.text_encoder import TextEncoder, load_text_encoder
from medmm.model.volume_encoder import VolumeEncoder, load_volume_encoder
from medmm.model.weights import state_digest
from medmm.read.remark import about
from medmm.slices import Picture, Shown, depths, pictures_of, slice_images, spread_slices
from medmm.tensors import RecordBins, view_index

TAUGHT = "taught.safetensors"
"""File of a model folder with what was taught of its encoders."""
_FORMAT = "7"
"""Part of every key: changes when reading or encoding changes what a file is encoded to."""
_TAUGHT_FORMAT = "all turnings"
"""Likewise, of what taught copies of the image network say: changes with how they are asked."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
_GIBIBYTE = 2**30
_FILM, _SLICE, _FRAME = range(3)
"""Kinds of picture, see PLACE."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedStudy:
    """All pictures of a study, encoded: its films, and its volumes as slices or planes."""

    tokens: Tensor
    """(P, C) float16."""
    place: Tensor
    """(P, PLACE), see PLACE."""
    images: tuple[ImageLayout, ...]
    remarks: tuple[str, ...]
    time: datetime | None = None
    """See Study.time."""
    flat: tuple[int, ...] = ()
    """Which of `images` went through the image encoder: films and slices, but not the planes of a volume encoder."""
    trunks: tuple[Trunk | None, ...] = ()
    """One for each of `images` where they were asked for, None for a plane."""
    maps: str = ""
    """Name in the cache of what the encoder's trunk made of them and of their views, see FeatureCache.keep_maps."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedNote:
    """A note, encoded."""

    tokens: Tensor
    """(T, W) float16."""
    terms: Tensor
    """(T,) int16, see terms_of."""
    word_of: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedCase:
    """All sides of one case, encoded; the record waits for the bins of the training cases."""

    case_id: str
    study: EncodedStudy | None
    prior: EncodedStudy | None
    """Never without a study."""
    note: EncodedNote | None
    record: Mapping[str, RecordValue]
    remarks: tuple[str, ...] = ()
    """Of the note, the record and the case, beside what its study, prior and note say of themselves."""


class Encoders:
    """The frozen encoders of a model."""

    def __init__(self, config: EncoderConfig, saved: Path | None = None) -> None:
        """Load them; `saved` is a model folder that keeps weights which are not embedded in a package."""

        def kept(name: str) -> Path | None:
            return saved / name if saved and (saved / name).exists() else None

        _keep_freed_memory()
        self.image: ImageEncoder = load_image_encoder(config, kept("image_encoder.safetensors"))
        self.volume: VolumeEncoder | None = load_volume_encoder(config, kept("volume_encoder.safetensors"))
        self.text: TextEncoder = load_text_encoder(config, kept("text_encoder"))
        if (taught := kept(TAUGHT)) is not None:
            self._load_taught(taught)
        self.volume_slices, self.image_flips = config.volume_slices, config.image_flips
        if torch.cuda.is_available():
            for network in (self.image, self.volume, self.text):
                if network is not None:
                    network.cuda()

    @property
    def digest(self) -> str:
        """Stands for all encoders and their settings."""
        towers = [tower.taught for tower in (self.image, self.text) if tower.taught]
        digests = [state_digest(nn.ModuleList(one.learnt for one in tower)) for tower in towers]  # type: ignore[misc]
        return self._digest((*digests, *([_TAUGHT_FORMAT] if self.image.taught else ())))

    @property
    def frozen_digest(self) -> str:
        """Stands for them without what was taught."""
        return self._digest(())

    def _digest(self, taught: Iterable[str]) -> str:
        volume = (self.volume_slices, *((self.volume.digest, self.volume.size) if self.volume else ()))
        image = (self.image.digest, self.image.size, self.image_flips)
        parts = (_FORMAT, *image, volume, self.text.digest, self.text.max_words, *taught)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @property
    def image_width(self) -> int:
        """Channels of a patch: those of the image encoder, then those of the volume encoder if there is one."""
        return self.image.width + (self.volume.width if self.volume else 0)

    def encode(self, case: Case, *, prior: bool, keep_trunks: bool = False) -> EncodedCase:
        """All sides of a case.

        Args:
            case: as it was read.
            prior: whether the model knows what to do with an earlier study.
            keep_trunks: whether the case will be explained, see EncodedStudy.trunks.
        """
        study = self.encode_study(case.study, keep_trunks=keep_trunks) if case.study else None
        wanted = case.prior if study and prior else None
        earlier = self.encode_study(wanted, keep_trunks=keep_trunks) if wanted else None
        remarks = remarks_of(case.note, case.record, case.remarks)
        if case.prior and earlier is None:
            remarks += ("prior study left out: the model knows none",)
        note = self.encode_note(case.note) if case.note else None
        values: Mapping[str, RecordValue] = case.record.values if case.record else {}
        return EncodedCase(case.case_id, study, earlier, note, values, remarks)

    def encode_study(self, study: Study, *, keep_trunks: bool = False) -> EncodedStudy:
        """Each film, and each slice or volume, through its encoder, alone."""
        seen = list(self._seen(study, keep_trunks))
        said = [*study.remarks, *(remark for image in study.images for remark in image.remarks)]
        for number, volume in enumerate(study.volumes):
            said += [*volume.remarks, *self._said_of(volume, sum(one.picture.volume == number for one in seen))]
        return EncodedStudy(
            tokens=torch.cat([one.patches.tokens for one in seen]),
            place=torch.cat([one.place() for one in seen]),
            images=tuple(one.layout() for one in seen),
            remarks=tuple(dict.fromkeys(said)),
            time=study.time,
            flat=tuple(number for number, one in enumerate(seen) if one.flat),
            trunks=tuple(one.patches.trunk for one in seen) if keep_trunks else (),
        )

    def encode_picture(self, image: Image, *, keep_trunk: bool = False) -> Patches:
        """One film or slice, its patches as they stand in EncodedStudy.tokens."""
        patches = self.image.encode(image, self._flips(image), keep_trunk=keep_trunk)
        behind = self.image_width - self.image.width
        return replace(patches, tokens=torch.nn.functional.pad(patches.tokens, (0, behind)))

    def encode_views(self, study: Study, encoded: EncodedStudy, config: AdaptConfig) -> Tensor:
        """What the image encoder's trunk makes of each flat picture and of its views: (1 + views, F, C, N, N)."""
        pictures = [encoded.images[number].picture for number in encoded.flat]
        images = pictures_of(study, pictures)
        maps = [self.image.views(image, config.views, self._flips(image)) for image in images]
        return torch.stack(maps, dim=1) if maps else torch.zeros(1 + config.views, 0, 0, 0, 0).half()

    def beside(self, study: EncodedStudy, trunks: Iterable[Trunk], taught: Sequence[Taught]) -> EncodedStudy:
        """A study as the frozen encoders left it, and beside its flat patches what taught copies say of them.

        Args:
            study: encoded by these encoders.
            trunks: what the image encoder's trunk made of each of its flat pictures.
            taught: copies of the image encoder's tail with other weights, and their heads.
        """
        frozen = self.image.frozen_width
        more = torch.zeros(len(study.tokens), taught[0].head.out_features).half()
        ends = np.cumsum([len(layout.cells) for layout in study.images])
        for number, trunk in zip(study.flat, trunks, strict=True):
            layout = study.images[number]
            patches = slice(int(ends[number]) - len(layout.cells), int(ends[number]))
            more[patches] = self.image.beside(trunk, layout.placement, taught)
        return replace(study, tokens=torch.cat([study.tokens[:, :frozen], more, study.tokens[:, frozen:]], dim=1))

    def taught(self, images: Sequence[Taught], notes: Sequence[Taught]) -> Encoders:
        """The same encoders, beside them taught copies of the image network and of the text network."""
        other = copy.copy(self)
        other.image, other.text = copy.deepcopy(self.image), copy.deepcopy(self.text)
        other.image.taught, other.text.taught = nn.ModuleList(images).eval(), nn.ModuleList(notes).eval()
        return other

    def without_taught(self, case: EncodedCase) -> EncodedCase:
        """A case as the frozen networks alone left it, which is the same for all that was taught beside them."""
        if self.image.taught:
            case = replace(case, study=self._frozen(case.study), prior=self._frozen(case.prior))
        if self.text.taught and case.note:
            case = replace(case, note=replace(case.note, tokens=case.note.tokens[:, : self.text.frozen_width]))
        return case

    def with_taught(self, case: EncodedCase) -> EncodedCase:
        """What `encode` gives, to the bit, of a case with trunks that other copies, or none, were taught beside."""
        if self.image.taught:
            case = replace(case, study=self._completed(case.study), prior=self._completed(case.prior))
        if self.text.taught and case.note:
            beside = self.text.beside(case.note.tokens, self.text.taught)
            case = replace(case, note=replace(case.note, tokens=torch.cat([case.note.tokens, beside], dim=1)))
        return case

    def _frozen(self, study: EncodedStudy | None) -> EncodedStudy | None:
        if study is None:
            return None
        kept = [study.tokens[:, : self.image.frozen_width], study.tokens[:, self.image.width :]]
        return replace(study, tokens=torch.cat(kept, dim=1))

    def _completed(self, study: EncodedStudy | None) -> EncodedStudy | None:
        if study is None:
            return None
        trunks = [trunk for trunk in study.trunks if trunk is not None]
        return self.beside(study, trunks, cast("Sequence[Taught]", self.image.taught))

    def save_taught(self, path: Path) -> None:
        """Write what was taught, and nothing else."""
        from safetensors.torch import save_file

        state = {
            f"{name}.{number}.{key}": value.cpu().contiguous()
            for name, tower in (("image", self.image), ("note", self.text))
            for number, taught in enumerate(tower.taught)
            for key, value in taught.learnt.state_dict().items()  # type: ignore[union-attr]  # Taught
        }
        save_file(state, path)

    def _load_taught(self, path: Path) -> None:
        """Put back what `save_taught` wrote.

        Raises:
            ModelError: if it is damaged or not of these encoders.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(path)
            for name, tower, make in (
                ("image", self.image, self.image.new_tail),
                ("note", self.text, self.text.new_upper),
            ):
                numbers = {int(key.split(".")[1]) for key in state if key.startswith(f"{name}.")}
                for number in sorted(numbers):
                    mine = f"{name}.{number}."
                    labels, width = state[f"{mine}head.weight"].shape
                    part, head = make(), nn.Linear(width, labels)
                    learnt_of(part, head).load_state_dict(
                        {key.removeprefix(mine): value for key, value in state.items() if key.startswith(mine)}
                    )
                    tower.taught.append(Taught(part, head).requires_grad_(False).eval())
        except (OSError, SafetensorError, RuntimeError, ValueError) as problem:
            raise ModelError(f"{path.name} is damaged ({type(problem).__name__})", "Copy the folder again") from None

    def encode_note(self, note: Note) -> EncodedNote:
        """The note through the text encoder."""
        words = self.text.encode(note)
        terms = terms_of(note.text, words.word_of, words.spans)
        return EncodedNote(words.tokens, terms, words.word_of, words.spans, words.remarks)

    def features(self, case: EncodedCase, bins: RecordBins) -> Features:
        """Put the sides of one case together."""
        vectors, taken = bins.encode(case.record)
        studies = [study for study in (case.study, case.prior) if study is not None]
        note = case.note
        places = [study.place.clone() for study in studies]
        for place in places[1:]:
            place[:, PRIOR] = 1
        said = [*(case.study.remarks if case.study else ())]
        said += [about("prior study", remark) for remark in (case.prior.remarks if case.prior else ())]
        return Features(
            case_id=case.case_id,
            image=torch.cat([torch.zeros(0, self.image_width).half(), *(study.tokens for study in studies)]),
            place=torch.cat([torch.zeros(0, PLACE), *places]),
            note=note.tokens if note else torch.zeros(0, self.text.width, dtype=torch.half),
            terms=note.terms if note else torch.zeros(0, dtype=torch.int16),
            record=torch.from_numpy(vectors),
            taken=torch.from_numpy(taken),
            layout=Layout(
                images=case.study.images if case.study else (),
                word_of=note.word_of if note else (),
                spans=note.spans if note else (),
                prior=case.prior.images if case.prior else (),
            ),
            remarks=(*said, *(note.remarks if note else ()), *case.remarks),
            trunks=tuple(trunk for study in studies for trunk in study.trunks),
        )

    def _seen(self, study: Study, keep_trunks: bool) -> Iterator[_Seen]:
        """What the encoders make of each picture, in the order of films, volumes and slices."""
        for index, image in enumerate(study.images):
            yield _Seen(
                self.encode_picture(image, keep_trunk=keep_trunks), Picture(index), _FILM, 0.5, view_index(image)
            )
        for number, volume in enumerate(study.volumes):
            if self.volume is not None and _has_shape(volume):
                for plane in self.volume.encode(volume):
                    tokens = torch.nn.functional.pad(plane.patches.tokens, (self.image.width, 0))
                    patches = replace(plane.patches, tokens=tokens)
                    yield _Seen(patches, Picture(plane.index, number), _SLICE, plane.depth, flat=False)
                continue
            chosen, depth = spread_slices(volume, self.volume_slices), depths(volume)
            kind = _FRAME if volume.affine is None else _SLICE
            for index, image in zip(chosen, slice_images(volume, chosen), strict=True):
                patches = self.encode_picture(image, keep_trunk=keep_trunks)
                yield _Seen(patches, Picture(index, number), kind, float(depth[index]))

    def _flips(self, image: Image) -> Flips:
        """Which mirrorings leave an image as likely as it was."""
        if self.image_flips == "auto":
            return "both" if image.pixels.ndim == 3 else "none"
        return self.image_flips

    def _said_of(self, volume: Volume, pictures: int) -> Iterator[str]:
        """How a volume was shown and read."""
        remark = Shown.of(volume).remark
        if remark:
            yield remark
        parts = f"{volume.slices} {'frames' if volume.affine is None else 'slices'}"
        if self.volume is not None and _has_shape(volume):
            yield f"{volume.modality} of {parts} read as a volume"
        elif pictures < volume.slices:
            yield f"{volume.modality} of {parts}: {pictures} of them read, evenly spread"


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What an encoder made of one picture."""

    patches: Patches
    picture: Picture
    kind: int
    depth: float
    view: int = 0
    flat: bool = True

    def place(self) -> Tensor:
        """(P, PLACE), see PLACE."""
        centres = torch.from_numpy(self.patches.placement.cell_centres(self.patches.grid)[self.patches.cells])
        rest = torch.tensor([self.view, self.depth, self.kind, 0], dtype=torch.float32)
        return torch.cat([centres, rest.expand(len(centres), -1)], dim=1)

    def layout(self) -> ImageLayout:
        """Where the patches lie."""
        patches = self.patches
        return ImageLayout(tuple(int(c) for c in patches.cells), patches.grid, patches.placement, self.picture)


def _keep_freed_memory() -> None:
    """Let glibc keep the megabytes that a layer frees for the next layer, instead of fetching and clearing them anew.

    On a CPU a convolutional network spends much of its time on that. Elsewhere nothing happens.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(_M_MMAP_THRESHOLD, _GIBIBYTE)
            library.mallopt(_M_TRIM_THRESHOLD, _GIBIBYTE)


def _has_shape(volume: Volume) -> bool:
    """Whether a network for volumes can read it: grey, and with a place in space."""
    return volume.affine is not None and volume.voxels.ndim == 3


def remarks_of(note: Note | None, record: Record | None, case: tuple[str, ...]) -> tuple[str, ...]:
    """What the readers of note and record left out, and then what was left out of the case as a whole."""
    return (*(note.remarks if note else ()), *(record.remarks if record else ()), *case)
