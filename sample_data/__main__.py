"""Write the sample cohort.

python -m sample_data FOLDER --patients 400 --seed 0
"""

import argparse
import sys
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from medmm.errors import MedmmError
from sample_data.cohort import write_cohort


def main() -> int:
    """Read the arguments, write the cohort, say where it is; 2 if it could not be written."""
    parser = argparse.ArgumentParser(prog="python -m sample_data", description="Write a synthetic chest cohort.")
    parser.add_argument("folder", type=Path, help="empty or missing folder, or an earlier sample cohort")
    parser.add_argument("--patients", type=int, default=400, help="how many patients (default 400)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default 0)")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one a core)")
    arguments = parser.parse_args()
    columns = (TextColumn("Studies"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task("studies", total=None)
            write_cohort(
                arguments.folder,
                arguments.patients,
                arguments.seed,
                arguments.workers,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except MedmmError as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    sys.stdout.write(f"Sample cohort in {arguments.folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
