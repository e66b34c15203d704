"""Does pretraining help? Linear probes of the encoders before and after it, on patients that neither of them saw.

python -m benchmarks.pretraining COHORT --kind notes
python -m benchmarks.pretraining COHORT --kind notes --texts FOLDER_OF_TXT
python -m benchmarks.pretraining COHORT --kind images --size 128
python -m benchmarks.pretraining COHORT --kind pairs --size 128
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from medmm.case import Note
from medmm.config import EncoderConfig
from medmm.errors import DataError
from medmm.judge.metrics import score_systems
from medmm.learn.pretrain.images import ImageTower, Square, pretrain_images, squares_of
from medmm.learn.pretrain.notes import pretrain_notes
from medmm.learn.pretrain.pairs import Pair, pretrain_pairs
from medmm.learn.pretrain.source import notes_in_files
from medmm.learn.probe import fit_probe
from medmm.learn.split import folds_by_patient
from medmm.model.image_encoder import ImageEncoder
from medmm.model.image_networks import load_image_encoder
from medmm.model.text_encoder import TextEncoder, load_text_encoder
from medmm.read.cohort import CaseRow, Cohort, join_sides, read_cohort
from medmm.read.pool import read_cases
from pipelines import pretrain, terminal

_SIDES = {"notes": ("note",), "images": ("image",), "pairs": ("image", "note")}


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One case, small enough to keep all of them."""

    row: CaseRow
    squares: tuple[Square, ...]
    note: Note | None


def main() -> int:
    """Teach on two thirds of the patients, then print what probes of them say of the others."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pretraining", description=__doc__)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--kind", choices=tuple(_SIDES), default="notes")
    parser.add_argument("--texts", type=Path, help="notes: teach on these .txt files, not on the cohort's notes")
    parser.add_argument("--size", type=int, default=224, help="side of the squares that are taught and probed")
    parser.add_argument("--cases", type=int, help="only the first so many rows")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--budget", default="3m", help="time for learning")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    config, cohort = EncoderConfig(image_size=asked.size), read_cohort(asked.cohort)
    sides = _SIDES[asked.kind]
    seen = list(_cases(cohort, sides, config, asked.cases))
    test = folds_by_patient([case.row.patient_id for case in seen], 3, asked.seed) == 0
    image, text = load_image_encoder(config), load_text_encoder(config)
    features = {side: {"before": _pooled(side, image, text, seen)} for side in sides}
    _teach(asked, image, text, [case for case, out in zip(seen, test, strict=True) if not out])
    for side in sides:
        features[side]["after"] = _pooled(side, image, text, seen)
        terminal.console.print(f"{side}: {len(seen)} cases, {int(test.sum())} of them for the test, seed {asked.seed}")
        _judge(cohort, seen, features[side], test, asked.seed)
    return 0


def _cases(cohort: Cohort, sides: tuple[str, ...], config: EncoderConfig, most: int | None) -> Iterator[Seen]:
    """The cases that have every side."""
    rows = cohort.rows[:most]
    if "image" not in sides:
        for row in rows:
            note, _, _ = join_sides(cohort, row, row.time)
            if note is not None:
                yield Seen(row, (), note)
        return
    rows = tuple(row for row in rows if row.study is not None)
    for row, case in track(read_cases(cohort, rows), "Reading", len(rows)):
        if isinstance(case, DataError) or case.study is None or ("note" in sides and case.note is None):
            continue
        squares = squares_of(case.study, row.patient_id, config.image_size, config.volume_slices)
        yield Seen(row, tuple(squares), case.note)


def _teach(asked: argparse.Namespace, image: ImageEncoder, text: TextEncoder, seen: list[Seen]) -> None:
    """Pretrain the encoders in place."""
    usual = {"notes": pretrain.NOTES, "images": pretrain.IMAGES, "pairs": pretrain.PAIRS}[asked.kind]
    course = replace(
        usual, epochs=asked.epochs or usual.epochs, seed=asked.seed, budget_s=pretrain.seconds(asked.budget)
    )
    with tempfile.TemporaryDirectory() as folder, pretrain.told() as listener:
        if asked.kind == "images":
            pretrain_images(image, [one for case in seen for one in case.squares], course, Path(folder), listener)
        elif asked.kind == "pairs":
            pairs = [Pair(case.squares, case.note.text) for case in seen if case.note is not None]
            pretrain_pairs(image, text, pairs, course, Path(folder), listener)
        else:
            own = [(case.row.patient_id, case.note) for case in seen]
            found = notes_in_files(asked.texts) if asked.texts else own
            pretrain_notes(
                text, [(who, note) for who, note in found if isinstance(note, Note)], course, Path(folder), listener
            )


@torch.inference_mode()
def _pooled(side: str, image: ImageEncoder, text: TextEncoder, seen: list[Seen]) -> np.ndarray:
    """What the encoder makes of each case, on the mean: (N, F)."""
    if side == "note":
        return np.stack([text.encode(case.note).tokens.float().mean(dim=0).numpy() for case in seen if case.note])
    tower = ImageTower(image).eval()
    shown = (torch.stack([square.pixels.expand(3, -1, -1) for square in case.squares]) for case in seen)
    return np.stack([tower(pictures).mean(dim=0).numpy() for pictures in track(shown, "Encoding", len(seen))])


def _judge(cohort: Cohort, seen: list[Seen], features: dict[str, np.ndarray], test: np.ndarray, seed: int) -> None:
    """Fit a probe on each encoder's features, and print how both rank the test cases."""
    targets = np.array([list(case.row.targets.values()) for case in seen])
    patients = np.array([case.row.patient_id for case in seen])
    fold_of = folds_by_patient(patients[~test].tolist(), 5, seed)
    multi_class = cohort.config.labels is not None and cohort.config.labels.multi_class
    said = {}
    for name, x in features.items():
        probe = fit_probe(x[~test], targets[~test], fold_of, multi_class=multi_class)
        logits = torch.from_numpy((x[test] - probe.centre) / probe.spread @ probe.weight.T + probe.bias)
        said[name] = (logits.softmax(dim=-1) if multi_class else logits.sigmoid()).numpy()
    order = {name: said[name] for name in ("after", "before")}
    judged = score_systems(order, targets[test], patients[test].tolist(), cohort.labels, reference="after", seed=seed)
    terminal.comparison(judged)


if __name__ == "__main__":
    raise SystemExit(main())
