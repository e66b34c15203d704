"""Remove identities from a cohort or a bare folder of studies, verify every file, and report what was done.

medmm deidentify IN OUT --key KEYFILE
"""

from __future__ import annotations

from pathlib import Path

from medmm.errors import CohortError
from medmm.privacy.case import Dates
from medmm.privacy.deidentify import REPORT, Deidentified, deidentify
from medmm.privacy.pixels import BurnedIn
from pipelines import terminal


def deidentify_folder(
    source: Path, out: Path, key: Path, *, dates: Dates, burned_in: BurnedIn, workers: int | None = None
) -> Deidentified:
    """De-identify a cohort, or a bare folder of studies, and say what came of it."""
    with terminal.counting("De-identifying") as progress:
        done = deidentify(source, out, key, dates, burned_in, progress, workers)
    terminal.remarks(done.remarks)
    terminal.refusals(done.refused, f"{out / REPORT}.csv")
    if not done.done:
        raise CohortError("no case could be de-identified", f"See {out / REPORT}.csv")
    known = f", {done.known} of them known from an earlier run" if done.known else ""
    terminal.console.print(f"{done.done} cases de-identified{known}, {len(done.refused)} refused; report in {out}")
    terminal.console.print(f"Keep the key and {done.private} to yourself: with them, names can be linked again.")
    return done
