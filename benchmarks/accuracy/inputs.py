"""What the floors and the other libraries read of a case: pooled frozen tokens, record values, words, pixels."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from medmm.case import Study
from medmm.config import CategoryColumn
from medmm.errors import DataError
from medmm.learn.encode import EncodedRow, encode_cohort
from medmm.learn.train import Prepared
from medmm.model.encode import EncodedStudy
from medmm.read.cohort import join_sides
from medmm.read.pool import read_cases
from medmm.slices import slice_images
from medmm.tensors import image_tensor

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels: the usual way to normalise a picture."""


def pooled(prepared: Prepared, modality: str) -> np.ndarray:
    """Features of one side, (N, F) float64; a row of NaN where a case lacks it.

    The image is the mean of its frozen tokens, a prior study's mean behind it where the cohort has such; the note is
    the mean of its word pieces; a record is its numbers, and 1 or 0 for each category.
    """
    if modality == "record":
        return _records(prepared)
    encoders, prior = prepared.encoders, bool(prepared.cohort.config.prior)
    if modality == "image":
        return np.stack([_image(case, encoders.image_width, prior) for case in prepared.cases])
    notes = [case.case.note for case in prepared.cases]
    return np.stack([_mean(note.tokens if note else None, encoders.text.width) for note in notes])


def plain(prepared: Prepared, modality: str) -> np.ndarray:
    """The usual features of one side, (N, F) float64: a picture read once, the last map or the last layer, its mean."""
    if modality == "record":
        return _records(prepared)
    if modality == "note":
        return pooled(prepared, "note")[:, prepared.encoders.text.frozen_width // 2 :]
    network, read = _read_once(prepared)
    last = network(torch.zeros(1, 3, 64, 64)).shape[1]
    return np.stack([_mean(study.tokens[:, -last:] if study else None, last) for study in read])


@cache
def _read_once(prepared: Prepared) -> tuple[nn.Module, tuple[EncodedStudy | None, ...]]:
    """The image network from pixels to its last map, and every study as it makes of each picture as it is."""
    encoders = copy.copy(prepared.encoders)
    encoders.image_flips = "none"
    encoded = encode_cohort(prepared.cohort, encoders, prepared.cache.shelf.folder, lambda done, total: None).cases
    image = encoders.image
    return image.stages, tuple(case.case.study for case in encoded)


def _image(case: EncodedRow, width: int, prior: bool) -> np.ndarray:
    studies: list[EncodedStudy | None] = [case.case.study, *([case.case.prior] if prior else [])]
    return np.concatenate([_mean(study.tokens if study else None, width) for study in studies])


def _mean(tokens: Tensor | None, width: int) -> np.ndarray:
    if tokens is None or not len(tokens):
        return np.full(width, np.nan)
    return tokens.double().mean(dim=0).numpy()


def _records(prepared: Prepared) -> np.ndarray:
    columns = prepared.cohort.config.record
    rows = []
    for case in prepared.cases:
        row: list[float] = []
        for name, column in columns.items():
            value = case.case.record.get(name)
            if isinstance(column, CategoryColumn):
                row += [np.nan if value is None else float(value == category) for category in column.categories]
            else:
                row.append(np.nan if value is None else float(value))
        rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def texts(prepared: Prepared) -> list[str]:
    """The note of each case as the text encoder was given it; '' where there is none."""
    said = []
    for case in prepared.cases:
        time = case.row.time or (case.case.study.time if case.case.study else None)
        note, _, _ = join_sides(prepared.cohort, case.row, time)
        said.append(note.text if note else "")
    return said


def squares(prepared: Prepared, size: int) -> np.ndarray:
    """The first picture of each case, or the middle slice of its first volume: (N, 3, size, size) float16.

    Normalised by ImageNet's channels; a case without a picture is all zeros, the mean grey.
    """
    pixels = np.zeros((len(prepared.cases), 3, size, size), dtype=np.float16)
    place = {case.row.case_id: number for number, case in enumerate(prepared.cases)}
    for row, case in read_cases(prepared.cohort, [case.row for case in prepared.cases]):
        if isinstance(case, DataError):
            raise case
        if case.study is not None:
            pixels[place[row.case_id]] = _square(case.study, size).numpy()
    return pixels


def _square(study: Study, size: int) -> torch.Tensor:
    if study.images:
        image = study.images[0]
    else:
        volume = study.volumes[0]
        (image,) = slice_images(volume, [volume.slices // 2])
    return image_tensor(image, size, MEAN, DEVIATION)[0]
