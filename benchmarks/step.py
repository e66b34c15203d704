"""What does a training step cost beside the bare forward and backward pass of the same modules?

python -m benchmarks.step --cases 512
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from statistics import median

import torch

from medmm.case import MODALITIES
from medmm.config import FusionConfig, TrainingConfig
from medmm.learn.auxiliary import Auxiliary
from medmm.learn.fit import Examples, fit, loss_of
from medmm.model.batch import PLACE, Features, Layout
from medmm.model.fusion import Fusion
from medmm.model.heads import Widths
from medmm.model.terms import BUCKETS
from medmm.tensors import BINS
from pipelines.terminal import console

LABELS = 6
WIDTHS = Widths(image=1432, note=768, layer=384, columns=2, bins=BINS)
PATCHES, WORDS = 49, 40


def main() -> int:
    """Time epochs of both, in turn; 1 if the median step costs more than a tenth on top."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--cases", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    cases = examples(arguments.cases)
    config = TrainingConfig(epochs=1, seed=arguments.seed)
    body = Fusion(WIDTHS, LABELS, True, FusionConfig())
    learner = Auxiliary(body)
    nobody = cases.take([])
    ours, bare, together = [], [], []
    for _ in range(arguments.repeats):
        together.append(bare_epoch(body, cases, config.batch_size))
        bare.append(bare_epoch(learner, cases, config.batch_size))
        optimizer = torch.optim.AdamW(learner.parameters(), lr=config.learning_rate)
        started = time.perf_counter()
        list(fit(learner, optimizer, cases, nobody, config, multi_class=True))
        ours.append(time.perf_counter() - started)
    more = median(one / other - 1 for one, other in zip(ours, bare, strict=True))
    steps = -(-len(cases) // config.batch_size)
    console.print(
        f"{steps} steps of {config.batch_size} cases: bare {1000 * median(bare) / steps:.0f} ms a step "
        f"({1000 * median(together) / steps:.0f} ms without each side alone), "
        f"with collation, clipping and AdamW {1000 * median(ours) / steps:.0f} ms: {100 * more:+.1f} %"
    )
    return 0 if more <= 0.1 else 1


def bare_epoch(network: Fusion | Auxiliary, cases: Examples, size: int) -> float:
    """Seconds of forward and backward passes over batches that were made beforehand."""
    network.train()
    batches = [cases.batch(range(i, min(i + size, len(cases)))) for i in range(0, len(cases), size)]
    if isinstance(network, Auxiliary):
        batches = [(batch, network.asked(batch, targets)) for batch, targets in batches]
    started = time.perf_counter()
    for batch, targets in batches:
        network.zero_grad()
        loss_of(network(batch), targets, multi_class=True).backward()  # type: ignore[no-untyped-call]  # of torch
    return time.perf_counter() - started


def examples(count: int) -> Examples:
    """Made-up cases of the size of a photograph, a short note and two values, with what heads would have said."""
    draw = torch.Generator().manual_seed(0)
    whole = Features(
        case_id="",
        image=torch.randn(PATCHES, WIDTHS.image, generator=draw).half(),
        place=torch.rand(PATCHES, PLACE, generator=draw).round(),
        note=torch.randn(WORDS, WIDTHS.note, generator=draw).half(),
        terms=torch.randint(1, 1 + BUCKETS, (WORDS,), generator=draw).short(),
        record=torch.rand(WIDTHS.columns, WIDTHS.bins, generator=draw),
        taken=torch.ones(WIDTHS.columns, dtype=torch.bool),
        layout=Layout(),
    )
    targets = torch.eye(LABELS)[torch.randint(LABELS, (count,), generator=draw)]
    heard = torch.randn(count, len(MODALITIES), LABELS, generator=draw)
    features = tuple(_shortened(whole, str(i), 10 + i % (WORDS - 9)) for i in range(count))
    return Examples(features, tuple(str(i) for i in range(count)), targets, heard)


def _shortened(case: Features, case_id: str, words: int) -> Features:
    return replace(case, case_id=case_id, note=case.note[:words], terms=case.terms[:words])


if __name__ == "__main__":
    raise SystemExit(main())
