"""The typical picture of the training cases: some of them are read again, since their maps are too large to keep."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from medmm.case import Case
from medmm.learn.encode import EncodedRow
from medmm.model.cache import FeatureCache
from medmm.model.encode import Encoders
from medmm.model.typical import VIEWS, Typical
from medmm.read import READING
from medmm.read.cohort import Cohort
from medmm.read.pool import read_cases
from medmm.slices import pictures_of
from medmm.tensors import pixels_for, view_index

_PICTURES = 128
"""That are read, drawn at random; of volumes all slices that the encoder reads."""


def typical_of(
    cohort: Cohort,
    cases: Sequence[EncodedRow],
    encoders: Encoders,
    cache: FeatureCache,
    seed: int,
    workers: int | None = None,
) -> Typical | None:
    """The mean over pictures of training cases; None if none of them can be read.

    Args:
        cohort: that they come from.
        cases: those that train.
        encoders: the trunk of their image encoder is asked.
        cache: where the mean is kept, so that a run that goes on reads nothing again.
        seed: of the draw.
        workers: processes that read; one a core if None.
    """
    drawn = np.random.default_rng(seed).permutation(len(cases))
    chosen: list[EncodedRow] = []
    pictures = 0
    for case in (cases[i] for i in drawn):
        if case.case.study is not None and case.case.study.flat and pictures < _PICTURES:
            chosen.append(case)
            pictures += len(case.case.study.flat)
    files = [(one.row.case_id, one.row.study.digest() if one.row.study else b"") for one in chosen]
    names = repr((READING, cohort.config.images, files))
    key = cache.key(b"typical" + hashlib.sha256(names.encode()).digest())
    if cache.has(key):
        return Typical(cache.maps(key, range(VIEWS), [0] * VIEWS).float())
    typical = Typical.of(_seen(cohort, chosen, encoders, workers))
    if typical is not None:
        cache.keep_maps(key, typical.maps[:, None])
    return typical


def _seen(
    cohort: Cohort, chosen: Sequence[EncodedRow], encoders: Encoders, workers: int | None
) -> Iterator[tuple[int, Tensor]]:
    """The view of each picture, and what the trunk makes of it (C, N, N)."""
    read = read_cases(cohort, [one.row for one in chosen], workers, pixels_for(encoders.image.size))
    for one, (_, case) in zip(chosen, read, strict=True):
        if isinstance(case, Case) and case.study is not None and one.case.study is not None:
            flat = [one.case.study.images[number].picture for number in one.case.study.flat]
            for image in pictures_of(case.study, flat):
                yield view_index(image), encoders.image.views(image, 0, "none")[0]
