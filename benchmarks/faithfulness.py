"""Do overlays show what a model uses? Deletion and insertion, pointing at planted lesions, and weights made random.

python -m benchmarks.faithfulness COHORT --run RUN --out FOLDER
python -m benchmarks.faithfulness COHORT --run RUN --other RUN --out FOLDER

RUN is what `medmm train COHORT --out RUN` wrote; --other is the same with another seed. Asked are flagged labels of
test cases that have the label, on the first picture of their study. Where COHORT/truth/masks says what was planted,
maps are held against it. Deleting is blurring, and what is left is encoded anew, so that no method is judged by its own
measure.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import cast

import numpy as np
import scipy.ndimage
import torch
from rich.progress import track
from skimage.metrics import structural_similarity
from torch import nn

from benchmarks.accuracy.command import code_of, publish
from benchmarks.accuracy.table import machine, versions
from medmm.case import Image
from medmm.errors import CohortError
from medmm.explain.contribution import predict
from medmm.explain.hiding import Questions
from medmm.explain.occlusion import blur, shown_as
from medmm.explain.overlay import DEFAULT, METHODS, WINDOWS, overlays
from medmm.judge.faithfulness import area_under, correlation, highest, mass_inside, points_at
from medmm.judge.metrics import Estimate, estimate, resample_patients, weighted_means, with_sample
from medmm.learn.split import read_split
from medmm.model.batch import Features
from medmm.model.folder import Model
from medmm.model.image_encoder import Tail
from medmm.model.taught import Taught
from medmm.placement import Placement
from medmm.read.cohort import CaseRow, read_case, read_cohort
from medmm.result import Overlay
from pipelines.terminal import console
from sample_data.truth import TABLES

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
"""Of the picture's pixels, deleted or inserted."""
TOLERANCE = 0.03
"""Of the picture's longer side, by which the highest pixel may miss a lesion."""
BOUND = 0.5
"""Structural similarity below which a map has changed with the weights (Arun et al. 2021)."""
RANDOM, CENTRE, EDGES = "random", "centre", "edges"
_COARSE = 14
"""Blobs of the random map, and the width of the blur, in parts of the picture's longer side."""
_SIDE = 112
"""Longer side in pixels of maps that are compared with each other."""
_MEASURES = ("deletion", "insertion", "points", "inside", "as windows")


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One flagged label of one test case."""

    row: CaseRow
    case: Features
    image: Image
    label: int
    mask: np.ndarray | None
    """(rows, columns) bool, what was planted for the label; None where nobody knows."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one map of one label of one case came to; NaN where it cannot be said."""

    case_id: str
    patient_id: str
    label: str
    method: str
    deletion: float
    """Log-odds that the label loses in the mean as the map's highest pixels are blurred."""
    insertion: float
    """Log-odds that it gains in the mean as they are put back into a blurred picture."""
    points: float
    """1 if the highest pixel lies on the lesion."""
    inside: float
    """Mass on the lesion, over chance."""
    as_windows: float
    """Rank correlation with hidden windows."""


def asked_of(model: Model, cohort_folder: Path, run: Path, most: int) -> Iterator[Asked]:
    """Flagged labels of test cases that have the label, at most so many of each label."""
    cohort = read_cohort(cohort_folder, model.card.cohort)
    part = read_split(run / "split.csv")
    found = dict.fromkeys(model.labels, 0)
    for row in cohort.rows:
        wanted = [label for label in model.labels if row.targets.get(label) == 1 and found[label] < most]
        if part.get(row.case_id) != "test" or row.study is None or not wanted:
            continue
        masks = _masks(cohort_folder, row.case_id)
        if masks is not None:
            wanted = [label for label in wanted if set(TABLES[label].findings) & set(masks)]
        if not wanted:
            continue
        case = read_case(cohort, row)
        if case.study is None or not case.study.images:
            continue
        features = model.encode(case, keep_trunks=True)
        flagged = {finding.label for finding in predict(model, [features])[0].flagged}
        for label in (one for one in wanted if one in flagged):
            found[label] += 1
            mask = None
            if masks is not None:
                mask = np.any([masks[name] for name in TABLES[label].findings if name in masks], axis=0)
            yield Asked(row, features, case.study.images[0], model.labels.index(label), mask)


def _masks(folder: Path, case_id: str) -> dict[str, np.ndarray] | None:
    """What was planted, by finding; None in a cohort of which nobody knows."""
    if not (folder / "truth" / "masks").is_dir():
        return None
    path = folder / "truth" / "masks" / f"{case_id}.npz"
    if not path.exists():
        return {}
    with np.load(path) as kept:
        return {name: kept[name].astype(bool) for name in kept.files}


def maps_of(model: Model, asked: Asked, methods: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """The map of each method that has one, and of what looks at no model, in the picture's pixels."""
    images = (asked.image,) if len(asked.case.layout.pictures) == 1 else ()
    found = {}
    for method in methods:
        if method == WINDOWS and not images:
            continue
        try:
            found[method] = overlays(Questions(model, asked.case), method, images)[asked.label][0].heatmap()
        except ValueError:  # no trunks, or no cross-modal attention: the table has no such line
            continue
    rows, columns = asked.image.pixels.shape[:2]
    grey = asked.image.pixels if asked.image.pixels.ndim == 2 else asked.image.pixels.mean(axis=2)
    width = max(rows, columns) / _COARSE
    noise = np.random.default_rng([seed, *asked.row.case_id.encode()]).normal(size=(rows, columns))
    y, x = np.mgrid[-1 : 1 : complex(0, rows), -1 : 1 : complex(0, columns)]
    return found | {
        RANDOM: scipy.ndimage.gaussian_filter(noise, width / 2),
        CENTRE: -np.hypot(y, x),
        EDGES: scipy.ndimage.gaussian_gradient_magnitude(grey, 2.0),
    }


def lines(model: Model, asked: Asked, methods: Sequence[str], seed: int) -> list[Line]:
    """Every measure of every map of one label of one case."""
    maps = maps_of(model, asked, methods, seed)
    pixels = asked.image.pixels
    blurred = blur(pixels, max(pixels.shape[:2]) / _COARSE)
    whole, nothing = _says(model, asked, pixels), _says(model, asked, blurred)
    found = []
    for method, heat in maps.items():
        lost, gained = [0.0], [0.0]
        for share in SHARES[1:]:
            chosen = highest(heat, share)
            chosen = chosen[..., None] if pixels.ndim == 3 else chosen
            lost.append(whole - _says(model, asked, np.where(chosen, blurred, pixels)))
            gained.append(_says(model, asked, np.where(chosen, pixels, blurred)) - nothing)
        mask = asked.mask
        found.append(
            Line(
                case_id=asked.row.case_id,
                patient_id=asked.row.patient_id,
                label=model.labels[asked.label],
                method=method,
                deletion=area_under(SHARES, lost),
                insertion=area_under(SHARES, gained),
                points=float("nan") if mask is None else float(points_at(heat, mask, TOLERANCE)),
                inside=float("nan") if mask is None else mass_inside(heat, mask),
                as_windows=correlation(heat, maps[WINDOWS]) if WINDOWS in maps else float("nan"),
            )
        )
    return found


def _says(model: Model, asked: Asked, pixels: np.ndarray) -> float:
    """Log-odds of the label where the first picture has these pixels."""
    shown = shown_as(model, asked.case, 0, replace(asked.image, pixels=np.asarray(pixels, dtype=np.float32)))
    return float(model.log_odds([shown])[0, asked.label])


def cascade(model: Model, seed: int) -> Iterator[tuple[str, Model]]:
    """The model with ever more of its weights shuffled, from the answer down to the pixels (Adebayo et al. 2018)."""
    draw = torch.Generator().manual_seed(seed)
    network, encoders = copy.deepcopy(model.network), copy.deepcopy(model.encoders)
    copies = [cast("Taught", one) for one in encoders.image.taught]
    for module in (network.body, *(one.head for one in copies)):
        _shuffle(module, draw)
    yield "heads and fusion", replace(model, network=network, encoders=copy.deepcopy(encoders))
    tails = [encoders.image.tail, *(cast("Tail", one.part) for one in copies)]
    stages = [list(tail.stages) for tail in tails]
    half = len(stages[0]) // 2
    for name, some in (("and the last stages", slice(half, None)), ("and all of the tail", slice(0, half))):
        for one in stages:
            for stage in one[some]:
                _shuffle(stage, draw)
        yield name, replace(model, network=network, encoders=copy.deepcopy(encoders))
    _shuffle(encoders.image.trunk, draw)
    yield "and the trunk", replace(model, network=network, encoders=encoders)


@torch.no_grad()
def _shuffle(module: nn.Module, draw: torch.Generator) -> None:
    """Put the values of every tensor in another order: their spread stays, what they learnt does not."""
    for value in [*module.parameters(), *module.buffers()]:
        if value.is_floating_point() and value.numel() > 1:
            value.copy_(value.flatten()[torch.randperm(value.numel(), generator=draw)].reshape(value.shape))


def similarity(first: Overlay, second: Overlay) -> tuple[float, float]:
    """Structural similarity and rank correlation of two maps of one picture, by their size."""
    one, other = (_small(overlay) for overlay in (first, second))
    same = structural_similarity(one, other, data_range=1.0)  # type: ignore[no-untyped-call]  # has no types
    return float(same), correlation(one, other)


def _small(overlay: Overlay) -> np.ndarray:
    """The size of a map's values from 0 to 1, in the picture's proportions."""
    place = overlay.placement
    scale = _SIDE / max(place.rows, place.columns)
    small: Placement = replace(
        place, rows=max(8, round(place.rows * scale)), columns=max(8, round(place.columns * scale))
    )
    heat = np.abs(np.nan_to_num(replace(overlay, placement=small).heatmap()))
    return np.asarray(heat / (heat.max() or 1.0))


@dataclass(frozen=True, slots=True)
class Change:
    """How like itself a method's map stays, in the mean over some cases."""

    step: str
    method: str
    ssim: float
    rank: float
    maps: int


def randomised(model: Model, some: Sequence[Asked], methods: Sequence[str], seed: int) -> list[Change]:
    """For each step of the cascade and each method, the maps before and after."""
    found = []
    for step, other in cascade(model, seed):
        found += changed(step, model, other, some, [method for method in methods if method != WINDOWS])
    return found


def changed(step: str, model: Model, other: Model, some: Sequence[Asked], methods: Sequence[str]) -> list[Change]:
    """The maps by two models with the same labels, of studies of one picture: all of it is encoded by each."""
    pairs: dict[str, list[tuple[float, float]]] = {method: [] for method in methods}
    for one in (one for one in some if len(one.case.layout.pictures) == 1):
        again = shown_as(other, _by(other, one.case), 0, one.image)
        for method in methods:
            try:
                maps = [
                    overlays(Questions(m, case), method)[one.label][0]
                    for m, case in ((model, one.case), (other, again))
                ]
            except ValueError:  # as in `maps_of`
                continue
            pairs[method].append(similarity(*maps))
    means = {method: np.mean(values, axis=0) for method, values in pairs.items() if values}
    return [Change(step, m, float(mean[0]), float(mean[1]), len(pairs[m])) for m, mean in means.items()]


def _by(model: Model, case: Features) -> Features:
    """A case whose patches are about to be encoded by another model, with room for them."""
    return replace(case, image=torch.zeros(len(case.image), model.encoders.image_width).half())


def table(found: Sequence[Line], resamples: int, seed: int) -> str:
    """One line a method: means with intervals by patient, and by how much the default differs from it."""
    methods = list(dict.fromkeys(line.method for line in found))
    keys = list(dict.fromkeys((line.case_id, line.patient_id, line.label) for line in found))
    values = {(line.case_id, line.label, line.method): line for line in found}
    weights = with_sample(resample_patients([patient for _, patient, _ in keys], resamples, seed))
    rows = [
        "| map | " + " | ".join(f"{name} | {DEFAULT} gains" for name in _MEASURES) + " |",
        "|---|" + "---|---|" * len(_MEASURES),
    ]
    for method in methods:
        cells = [method]
        for name in _MEASURES:
            field = name.replace(" ", "_")
            pairs = np.array(
                [
                    [
                        getattr(values[c, label, one], field) if (c, label, one) in values else np.nan
                        for one in (method, DEFAULT)
                    ]
                    for c, _, label in keys
                ]
            )
            known = np.isfinite(pairs).all(axis=1)
            mine = estimate(weighted_means(pairs[known, 0], weights[:, known])) if known.any() else None
            gain = (
                estimate(weighted_means(pairs[known, 1] - pairs[known, 0], weights[:, known])) if known.any() else None
            )
            cells += [_said(mine), "" if method == DEFAULT else _said(gain)]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _said(value: Estimate | None) -> str:
    return "" if value is None else f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"


def by_label(found: Sequence[Line]) -> str:
    """Of the default, what was planted: one line a label."""
    rows = ["| label | cases | points | inside |", "|---|---|---|---|"]
    for label in dict.fromkeys(line.label for line in found):
        mine = [line for line in found if line.label == label and line.method == DEFAULT and np.isfinite(line.points)]
        if mine:
            points, inside = np.mean([(line.points, line.inside) for line in mine], axis=0)
            rows.append(f"| {label} | {len(mine)} | {points:.2f} | {inside:.1f} |")
    return "\n".join(rows)


def changes(found: Sequence[Change]) -> str:
    """One line a method, one column a step."""
    steps, methods = (list(dict.fromkeys(getattr(one, name) for one in found)) for name in ("step", "method"))
    value = {(one.method, one.step): one for one in found}
    rows = ["| map | " + " | ".join(steps) + " |", "|---|" + "---|" * len(steps)]
    for method in methods:
        cells = [value.get((method, step)) for step in steps]
        rows.append(
            f"| {method} | " + " | ".join("" if c is None else f"{c.ssim:.2f}, {c.rank:.2f}" for c in cells) + " |"
        )
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> int:
    """Print the tables and write faithfulness.md and faithfulness.json; 1 if the default fails a test."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faithfulness", description=__doc__)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--other", type=Path, help="the same training with another seed")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--most", type=int, default=25, help="cases of each label")
    parser.add_argument("--randomised", type=int, default=12, help="of these, those whose weights are made random")
    parser.add_argument("--without", nargs="*", default=[], choices=list(METHODS), help="methods that are left out")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    return code_of(_run, parser.parse_args(arguments))


def _run(asked: argparse.Namespace) -> int:
    model = Model.load(asked.run / "model")
    methods = [method for method in METHODS if method not in asked.without]
    cases = list(track(asked_of(model, asked.cohort, asked.run, asked.most), "Flagged test cases", console=console))
    if not cases:
        raise CohortError("no test case of the run is flagged for a label that it has", "Give the cohort of the run")
    found = [line for one in track(cases, "Hiding", console=console) for line in lines(model, one, methods, asked.seed)]
    some = cases[:: max(1, len(cases) // asked.randomised)][: asked.randomised]
    cascaded = randomised(model, some, methods, asked.seed)
    repeated = []
    if asked.other is not None:
        usable = [method for method in methods if method != WINDOWS]
        repeated = changed("another seed", model, Model.load(asked.other / "model"), some, usable)
    about = (
        f"{len(cases)} flagged labels of {len({one.row.patient_id for one in cases})} test patients; 95 % intervals by "
        f"patient. Seed {asked.seed}. {date.today().isoformat()}, {machine()}; "
        + ", ".join(f"{name} {number}" for name, number in versions().items())
    )
    parts = [table(found, asked.resamples, asked.seed)]
    if any(np.isfinite(line.points) for line in found):
        parts.append(by_label(found))
    parts.append(
        "Structural similarity and rank correlation with the map of the trained model, as weights are shuffled"
    )
    parts.append(changes([*cascaded, *repeated]))
    content = {
        "about": about,
        "lines": [asdict(one) for one in found],
        "changes": [asdict(c) for c in (*cascaded, *repeated)],
    }
    publish(asked.out, "faithfulness", "\n\n".join([*parts, about, ""]), content)
    last = [one for one in cascaded if one.method == DEFAULT][-1]
    return int(last.ssim > BOUND)


if __name__ == "__main__":
    raise SystemExit(main())
