"""The same patient, picture, note or study in two cases: what a split cannot keep apart is learnt by heart and tested.

A picture that is nearly another is found in two steps, since chest films are all alike: a perceptual hash proposes
(Zauner 2010, Hamming distance), and what decides is whether the *detail* of both thumbnails agrees after one is laid on
the other by the affine map of highest correlation (ECC, Evangelidis and Psarakis 2008), which undoes a crop, another
size, brightness or contrast.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from medmm.judge.leak.coincidence import coincidences
from medmm.read.survey import Look, Surveyed

DuplicateKind = Literal["patient", "patient id", "study uid", "pixels", "near pixels", "note"]
Verdict = Literal["leak", "suspicious", "quiet"]
RANK: Mapping[str, int] = {"leak": 0, "suspicious": 1, "quiet": 2}

MOST_BITS = 10
"""Hamming distance of two hashes of 64 bits up to which the thumbnails are compared. A re-encoded, resized or brighter
copy is within 4 bits, one cropped by 2 % within 6, by 5 % nearly always within 10; of larger crops most are missed."""
LEAST_DETAIL = 0.9
"""Correlation of the aligned detail from which two pictures are one: of 1,274 pairs of lesions or films of different
patients within 10 bits none came above 0.81, and of copies that were re-encoded, resized, brighter or cropped by 2 %
none came below 0.94 (`python -m benchmarks.leaks` counts both)."""
MOST_CHECKS = 5_000
"""Pairs whose thumbnails are compared, nearest hashes first: some 3 ms each."""
_SIDE = 96
_LEAST_OVERLAP = 0.5
_LEAST_PIXELS = 200
_DETAIL_PIXELS = 5.0
"""Structure coarser than this standard deviation, in pixels of the thumbnail, is what all chest films share."""
_PLACEHOLDER = 5
"""An id that stands with more patients than this and with more than a tenth of them is no id."""

_SAYS: Mapping[str, str] = {
    "patient": "are one patient's",
    "patient id": "have one Patient ID in their files",
    "study uid": "have one Study Instance UID in their files",
    "pixels": "have a picture with the same pixels",
    "near pixels": "have a picture that is nearly the same",
    "note": "have the same note, word for word, and chance does not explain it",
}


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two cases that share what two cases should not. A group of more than two is a chain of such pairs."""

    kind: DuplicateKind
    first: str
    """Case id."""
    second: str
    """Case id."""
    crosses_patients: bool
    """The table gives them to two patients, so that a split by patient does not keep them together."""
    parts: tuple[str, str] | None
    """The parts that they are in, where parts are known."""
    similarity: float
    """1 for the same; of nearly the same pictures, the correlation of their detail."""
    verdict: Verdict
    """leak: in two parts, or of two patients. The same note of two patients is suspicious until it is in two parts.
    quiet: of one patient, so that it counts double and no more."""
    sentence: str

    @property
    def crosses_parts(self) -> bool:
        """They are in two parts: one is trained on, and the other is judged by."""
        return self.parts is not None and self.parts[0] != self.parts[1]


@dataclass(frozen=True, slots=True)
class _Pair:
    kind: DuplicateKind
    first: int
    second: int
    similarity: float = 1.0


def find_duplicates(
    cases: Sequence[Surveyed], parts: Mapping[str, str] | None
) -> tuple[tuple[Duplicate, ...], tuple[str, ...]]:
    """Find pairs of cases that share what two cases should not, the worst first; and say what was not compared.

    Args:
        cases: in any order.
        parts: case id -> train, validation or test; None where there is no split yet.
    """
    patients = patients_of(cases)
    pairs: list[_Pair] = []
    not_tested: list[str] = []
    if parts is not None:
        pairs += [pair for pair in _chains("patient", patients) if _crosses(cases, pair, parts)]
    ids: tuple[tuple[DuplicateKind, str, list[str]], ...] = (
        ("patient id", "Patient ID", [case.study_patient_id for case in cases]),
        ("study uid", "Study Instance UID", [case.study_uid for case in cases]),
    )
    for kind, name, stated in ids:
        known, placeholders = _without_placeholders(stated, patients)
        if placeholders:
            not_tested.append(
                f"{name} of the files: {placeholders} value(s) stand with more than {_PLACEHOLDER} patients and a tenth"
                " of them, and look like placeholders"
            )
        pairs += [
            pair
            for pair in _chains(kind, known, patients if kind == "patient id" else None)
            if kind == "study uid" or patients[pair.first] != patients[pair.second]
        ]
    pictures, remarks = _same_pictures(cases)
    notes, more = _same_notes(cases, patients)
    found = [_duplicate(cases, patients, pair, parts) for pair in (*pairs, *pictures, *notes)]
    found.sort(key=lambda one: (RANK[one.verdict], not one.crosses_parts, -one.similarity, one.first, one.second))
    return tuple(found), (*not_tested, *remarks, *more)


def patients_of(cases: Sequence[Surveyed]) -> list[str]:
    """The patient of each case; a case that states none is a patient of its own."""
    return [case.patient_id or f"\0{case.case_id}" for case in cases]


def _chains(kind: DuplicateKind, keys: Sequence[Hashable], among: Sequence[str] | None = None) -> list[_Pair]:
    """Pair the cases of one key, each with the one before it; with `among`, one case for each value of it."""
    groups: dict[Hashable, dict[Hashable, int]] = defaultdict(dict)
    for place, key in enumerate(keys):
        if key:
            groups[key].setdefault(among[place] if among is not None else place, place)
    chains = [list(group.values()) for group in groups.values()]
    return [_Pair(kind, a, b) for chain in chains for a, b in pairwise(chain)]


def _without_placeholders(values: Sequence[str], patients: Sequence[str]) -> tuple[list[str], int]:
    """Empty the values that stand with too many patients to be an id; return how many there were."""
    holders: dict[str, set[str]] = defaultdict(set)
    for value, patient in zip(values, patients, strict=True):
        holders[value].add(patient)
    limit = max(_PLACEHOLDER, len(set(patients)) / 10)
    placeholders = {value for value, those in holders.items() if value and len(those) > limit}
    return ["" if value in placeholders else value for value in values], len(placeholders)


def _same_pictures(cases: Sequence[Surveyed]) -> tuple[list[_Pair], list[str]]:
    """Pairs of cases with the same picture or nearly so; a picture of one brightness is evidence of nothing."""
    looks = [(place, look) for place, case in enumerate(cases) for look in case.looks if np.ptp(look.thumbnail) > 2]
    joined = _Groups(len(cases))
    pairs: list[_Pair] = []
    first_with: dict[str, int] = {}
    for place, look in looks:
        first = first_with.setdefault(look.pixels, place)
        if joined.join(first, place):
            pairs.append(_Pair("pixels", first, place))
    near, left_out = _near_hashes(looks)
    remarks = []
    if left_out:
        remarks.append(f"nearly the same pictures: of {left_out + len(near):,} pairs with near hashes the"
                       f" {len(near):,} nearest were compared")  # fmt: skip
    for a, b in near:
        first, second = looks[a][0], looks[b][0]
        if first == second or joined.one(first, second):
            continue
        detail = same_detail(looks[a][1].thumbnail, looks[b][1].thumbnail)
        if detail >= LEAST_DETAIL and joined.join(first, second):
            pairs.append(_Pair("near pixels", min(first, second), max(first, second), round(detail, 3)))
    return pairs, remarks


class _Groups:
    """Cases that are known to share a picture, so that a group of n costs n - 1 pairs (union-find)."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def _top(self, place: int) -> int:
        while self._above[place] != place:
            self._above[place] = self._above[self._above[place]]
            place = self._above[place]
        return place

    def one(self, a: int, b: int) -> bool:
        """True if both are in one group."""
        return self._top(a) == self._top(b)

    def join(self, a: int, b: int) -> bool:
        """Make one group of both; False if they were one."""
        top_a, top_b = self._top(a), self._top(b)
        self._above[top_b] = top_a
        return top_a != top_b


def _near_hashes(looks: Sequence[tuple[int, Look]]) -> tuple[list[tuple[int, int]], int]:
    """Pairs of looks whose hashes are near, the nearest first, and how many were left out for want of time.

    All pairs are compared, a block of rows at a time: 10,000 pictures are 50 million exclusive ors, under a second.
    """
    owner = np.array([number for number, (_, look) in enumerate(looks) for _ in look.hashes], dtype=np.int64)
    hashes = np.array([value for _, look in looks for value in look.hashes], dtype=np.uint64)
    found: list[np.ndarray] = []
    for start in range(0, len(hashes), 256):
        block = hashes[start : start + 256]
        bits = np.bitwise_count(block[:, None] ^ hashes[None, start:])  # (block, rest)
        rows, columns = np.nonzero(bits <= MOST_BITS)
        later = columns > rows
        rows, columns = rows[later], columns[later]
        found.append(np.stack([bits[rows, columns], owner[start + rows], owner[start + columns]], axis=1))
    near = np.concatenate(found).astype(np.int64) if found else np.empty((0, 3), dtype=np.int64)
    near = near[np.argsort(near[:, 0], kind="stable")]
    kept = near[:MOST_CHECKS, 1:].tolist()
    return [(a, b) for a, b in kept], len(near) - len(kept)


def same_detail(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation in [-1, 1] of the detail of two thumbnails, after the second is laid on the first.

    Both are fitted into one square, at the resolution of the coarser. Where both are black, as around a lesion that was
    cut out, nothing is compared. 0 where they cannot be laid on each other, or hardly overlap.

    Args:
        one: (rows, columns) or (rows, columns, 3) uint8.
        other: as `one`, of any size.
    """
    import cv2

    least = (min(one.shape[1], other.shape[1]), min(one.shape[0], other.shape[0]))
    one, other = _square(one, least), _square(other, least)
    until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
    start, everywhere = np.eye(2, 3, dtype=np.float32), np.ones(one.shape, dtype=np.uint8)
    try:
        _, warp = cv2.findTransformECC(one, other, start, cv2.MOTION_AFFINE, until, everywhere, 5)
    except cv2.error:  # they have nothing in common
        return 0.0
    size, flags = (_SIDE, _SIDE), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(other, warp, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones_like(other), warp, size, flags=flags) > 0.99
    compared = cv2.erode((inside & ((one > 0) | (laid > 0))).astype(np.uint8), np.ones((3, 3), dtype=np.uint8)) > 0
    if inside.mean() < _LEAST_OVERLAP or compared.sum() < _LEAST_PIXELS:
        return 0.0
    a, b = _detail(one)[compared], _detail(laid)[compared]
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def _square(thumbnail: np.ndarray, least: tuple[int, int]) -> np.ndarray:
    """A thumbnail in grey, reduced to the `least` width and height, then fitted into a square: (96, 96) float32."""
    import cv2

    grey = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY) if thumbnail.ndim == 3 else thumbnail
    reduced = cv2.resize(grey, least, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(reduced, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _detail(square: np.ndarray) -> np.ndarray:
    import cv2

    return np.asarray(square - cv2.GaussianBlur(square, (0, 0), _DETAIL_PIXELS))


def _same_notes(cases: Sequence[Surveyed], patients: Sequence[str]) -> tuple[list[_Pair], list[str]]:
    """Pairs of patients with one note that chance does not explain."""
    chains, boilerplate = coincidences([case.note for case in cases], patients)
    remarks = [f"same note: {boilerplate} text(s) that many patients share were taken for boilerplate"]
    pairs = [_Pair("note", a, b) for chain in chains for a, b in pairwise(chain)]
    return pairs, remarks if boilerplate else []


def _crosses(cases: Sequence[Surveyed], pair: _Pair, parts: Mapping[str, str]) -> bool:
    first, second = (parts.get(cases[place].case_id) for place in (pair.first, pair.second))
    return first is not None and second is not None and first != second


def _duplicate(
    cases: Sequence[Surveyed], patients: Sequence[str], pair: _Pair, parts: Mapping[str, str] | None
) -> Duplicate:
    first, second = cases[pair.first].case_id, cases[pair.second].case_id
    across = patients[pair.first] != patients[pair.second]
    both = (parts[first], parts[second]) if parts is not None and {first, second} <= parts.keys() else None
    says = [f"Cases {first} and {second} {_SAYS[pair.kind]}"]
    if pair.kind == "near pixels":
        says[0] += f" ({pair.similarity:.2f} of 1)"
    verdict: Verdict = "quiet"
    if both and both[0] != both[1]:
        verdict = "leak"
        says.append(f"One is in {both[0]}, the other in {both[1]}: put both into one part, or take one out")
    elif across:
        verdict = "suspicious" if pair.kind == "note" else "leak"
        says.append("The table gives them to two patients, so a split may part them: give both one patient id,"
                    " or take one out")  # fmt: skip
    else:
        says.append("Both are of one patient: a split by patient keeps them together, and they count double")
    return Duplicate(pair.kind, first, second, across, both, pair.similarity, verdict, ". ".join(says) + ".")
