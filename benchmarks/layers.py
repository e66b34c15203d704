"""Which hidden layer of the text encoder tells most? Linear probes of the mean word piece, by layer, folds by patient.

python -m benchmarks.layers COHORT
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from medmm.config import EncoderConfig
from medmm.judge.metrics import auroc
from medmm.learn.probe import fit_probe
from medmm.learn.split import folds_by_patient
from medmm.model.text_encoder import TextEncoder, load_text_encoder
from medmm.read.chart.note import read_note
from medmm.read.cohort import read_cohort
from pipelines.terminal import console


def main() -> int:
    """Print the macro AUROC of held-out folds for each layer."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--text", default="embedded:minilm", help="see [encoders] text of run.toml")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cohort = read_cohort(arguments.cohort)
    encoder = load_text_encoder(EncoderConfig(text=arguments.text))
    rows = [row for row in cohort.rows if row.note.strip()]
    means = np.stack([layer_means(encoder, row.case_id, row.note) for row in track(rows)])  # (cases, layers, width)
    targets = np.array([list(row.targets.values()) for row in rows])
    fold_of = folds_by_patient([row.patient_id for row in rows], 5, arguments.seed)
    multi_class = cohort.config.labels is not None and cohort.config.labels.multi_class
    console.print(f"{len(rows)} notes; macro AUROC over five folds by patient, seed {arguments.seed}")
    for layer in range(means.shape[1]):
        said = fit_probe(means[:, layer], targets, fold_of, multi_class=multi_class).held_out
        areas = [auroc(targets[:, label], said[:, label]) for label in range(targets.shape[1])]
        console.print(f"  layer {layer}: {np.nanmean(areas):.3f}")
    return 0


@torch.inference_mode()
def layer_means(encoder: TextEncoder, case_id: str, text: str) -> np.ndarray:
    """The mean word piece of one note in every layer, the embedding first: (layers, width)."""
    note = read_note(case_id, text)
    words = encoder.tokenizer(note.text if note else "", truncation=True, max_length=256, return_tensors="pt")
    layers = encoder.network(**words, output_hidden_states=True).hidden_states
    return np.stack([layer[0].mean(dim=0).numpy() for layer in layers])


if __name__ == "__main__":
    raise SystemExit(main())
