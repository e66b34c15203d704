"""Does fusion pass what no single side can reach? The sample cohort, several seeds, beside its Bayes-optimal ceilings.

python -m benchmarks.ceilings FOLDER --patients 1200 --seeds 3
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.table import Table

from pipelines.demo import learn_sample
from pipelines.terminal import console


def main() -> int:
    """Make and learn one cohort a seed; 1 if the fused model is not above both ceilings of a side in every one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ceilings", description=__doc__)
    parser.add_argument("folder", type=Path, help="where cohorts and runs go; a second call goes on")
    parser.add_argument("--patients", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    table = Table(title=f"Macro AUROC on test patients; {arguments.patients} patients a cohort", title_justify="left")
    reports = {
        seed: learn_sample(arguments.folder / f"seed-{seed}", arguments.patients, seed)
        for seed in range(arguments.seeds)
    }
    first = reports[0]
    table.add_column("system")
    for seed in reports:
        table.add_column(f"seed {seed}", justify="right")
    for place, score in enumerate(first.scores):
        table.add_row(score.system, *(f"{report.scores[place].macro.value:.3f}" for report in reports.values()))
    table.add_section()
    for name in first.ceilings:
        table.add_row(name, *(f"{report.ceilings[name]:.3f}" for report in reports.values()))
    table.add_section()
    table.add_row("test cases", *(str(len(report.comparison.case_ids)) for report in reports.values()))
    console.print(table)
    above = all(
        report.scores[0].macro.value > max(report.ceilings[name] for name in list(report.ceilings)[:2])
        for report in reports.values()
    )
    console.print("Fused is above both one-sided ceilings in every seed" if above else "Fused is NOT above both")
    return 0 if above else 1


if __name__ == "__main__":
    raise SystemExit(main())
