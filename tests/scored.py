"""A folder as `medmm score` leaves it, with made-up films and invented predictions, for tests of what comes after."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import exp, log
from pathlib import Path

import numpy as np
from pydicom.uid import DigitalXRayImageStorageForPresentation

from medmm.case import MODALITIES, Image, RecordValue
from medmm.placement import Placement
from medmm.result import (
    Contribution,
    Deletion,
    Evidence,
    Explanation,
    Film,
    Finding,
    Origin,
    Overlay,
    Prediction,
    Region,
    ScoredCase,
    SimilarCase,
    Without,
    WordWeight,
    call_of,
)
from medmm.store.store import Store
from medmm.write.picture import write_picture
from sample_data.anatomy import draw_build
from sample_data.film import make_film
from sample_data.lateral import make_lateral

MODEL = "0123456789ab"
LABELS = ("pneumonia", "heart_failure", "lung_cancer")
BASE = -1.5
"""Log-odds of every finding of a case of which nothing is known."""
NOTE = "74-year-old smoker, weight loss of 9 kg since spring. No fever. Haemoptysis twice last week."
SCRIPT = "<script>document.title='owned'</script> <img src=x onerror=\"document.title='owned'\"> cough & <b>fever</b>"
"""A note that would take over a page that does not escape it."""
RECORD: Mapping[str, RecordValue] = {"age_years": 74.0, "sex": "female", "crp_mg_l": 12.5}
HEADER = json.dumps(
    {
        "00080020": {"vr": "DA", "Value": ["20261101"]},
        "00080030": {"vr": "TM", "Value": ["101500"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Ada"}]},
        "00100020": {"vr": "LO", "Value": ["P-0001"]},
        "00100030": {"vr": "DA", "Value": ["19520304"]},
        "00100040": {"vr": "CS", "Value": ["F"]},
        "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
        "00200010": {"vr": "SH", "Value": ["7"]},
    }
)
ORIGIN = Origin("/nowhere/studies/c1", (), HEADER)
"""Of files that are not there any more."""
UNITS = {"age_years": "a", "crp_mg_l": "mg/L"}
USUAL = {"crp_mg_l": (0.0, 5.0)}


def finding(label: str, probability: float, present: Sequence[str] = MODALITIES, threshold: float = 0.4) -> Finding:
    """A finding whose contributions sum, with the base, to the log-odds of its probability, as they must."""
    rest = log(probability / (1 - probability)) - BASE
    shares = {name: rest * (n + 1) for n, name in enumerate(present)}
    whole = sum(range(1, len(present) + 1))
    brought = {name: share / whole for name, share in shares.items()}
    without = {name: _without(rest + BASE - part, threshold) for name, part in brought.items()}
    contributions = tuple(Contribution(name, brought.get(name, 0.0), without.get(name)) for name in MODALITIES)
    return Finding(label, probability, threshold, BASE, contributions, 0.2 * rest if len(present) > 1 else 0.0)


def _without(log_odds: float, threshold: float) -> Without:
    probability = 1 / (1 + exp(-log_odds))
    return Without(probability, call_of(probability, threshold, None))


def scored_case(
    case_id: str,
    probabilities: Sequence[float] = (0.2, 0.05, 0.87),
    *,
    note: str = NOTE,
    record: Mapping[str, RecordValue] = RECORD,
    views: Sequence[str] = ("PA",),
    content: str = "c" * 64,
) -> ScoredCase:
    """A case with one probability for each label; no note, no record value or no view is a modality not given."""
    given = {"image": bool(views), "note": bool(note), "record": bool(record)}
    present = tuple(name for name in MODALITIES if given[name])
    absent = tuple(name for name in MODALITIES if not given[name])
    findings = tuple(finding(label, p, present) for label, p in zip(LABELS, probabilities, strict=True))
    films = tuple(_film(view, place) for place, view in enumerate(views))
    explanations = tuple(_explanation(label, n, note, views, record) for n, label in enumerate(LABELS))
    similar = (
        SimilarCase("t-017", 0.21, {"pneumonia": True, "heart_failure": None, "lung_cancer": True}),
        SimilarCase("t-204", 0.43, {"pneumonia": False, "heart_failure": True, "lung_cancer": None}),
    )
    units, usual = (UNITS, USUAL) if record else ({}, {})
    evidence = Evidence(films, note, record, units, explanations, similar, ORIGIN if views else None, usual=usual)
    remarks = ("report object without pixels left out",)
    return ScoredCase(Prediction(case_id, MODEL, findings, present, absent, remarks), evidence, content)


def _film(view: str, place: int) -> Film:
    kind, remarks = str(DigitalXRayImageStorageForPresentation), ("VOI window 1490/2610",)
    return Film(picture(view).digest, "DX", view, remarks, False, "", "1.2.3.1", f"1.2.3.1.{place + 1}", kind)


def write_scored(out: Path, cases: Sequence[ScoredCase]) -> None:
    """Write the store and the films of these cases."""
    out.mkdir(parents=True, exist_ok=True)
    with Store(out / "store.sqlite") as store:
        store.keep(cases)
    for view in {film.view for case in cases for film in case.evidence.films}:
        write_picture(out / "films", picture(view))


@lru_cache
def picture(view: str) -> Image:
    """The film that stands for every film of this view; a frontal one has a nodule."""
    rng = np.random.default_rng(1)
    lateral = view == "LL"
    film = make_lateral(rng, [], draw_build(rng), 0.5) if lateral else make_film(rng, ["nodule"], view=view)
    (centre, width) = film.window
    shown = np.clip((film.pixels.astype(np.float32) - centre) / width + 0.5, 0, 1)
    return Image(shown.astype(np.float32), hashlib.sha256(view.encode()).hexdigest(), modality="DX", view=view)


def _explanation(label: str, place: int, note: str, views: Sequence[str], record: Iterable[str]) -> Explanation:
    """Something for, something against, in another spot for every label; words in the order of the note."""
    spans = [match.span() for match in re.finditer(r"\w+", note)]
    words = tuple(WordWeight(a, b, round(0.9 * np.sin(1.7 * n + place).item(), 3)) for n, (a, b) in enumerate(spans))
    overlays = tuple(_overlay(picture(view), place) for view in views)
    worth = {column: 0.1 * (n + 1 - place) for n, column in enumerate(record)}
    flip = Deletion(label, True, 1.2, -0.3, (Region(0, (44, 45)),) if views else (), tuple(spans[:2]), ())
    return Explanation(label, "integrated gradients", overlays, words, worth, flip if spans and not place else None)


def _overlay(image: Image, place: int) -> Overlay:
    """A grid of 10 by 10 with a warm and a cool spot, and NaN where the film does not reach."""
    placement = Placement.fit(image.rows, image.columns, 320)
    down, across = np.mgrid[0:10, 0:10]
    warm, cool = (4.8, 8.0 - 3 * place % 7), (7.0, 2.0 + place)
    cells = sum(
        sign * exp(-place / 4) * np.exp(-((down - y) ** 2 + (across - x) ** 2) / 2)
        for sign, (y, x) in ((0.9, warm), (-0.5, cool))
    )
    cells = np.where(placement.covered((10, 10)).reshape(10, 10), cells, np.nan)
    return Overlay(np.asarray(cells, dtype=np.float32), placement)
