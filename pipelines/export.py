"""Write what was said of cases for other systems: DICOM SR, captures, maps, FHIR and PDF, from the store alone.

medmm export OUT
medmm export OUT --as capture --as map --flagged-only
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from medmm.errors import DataError
from medmm.files import write_whole
from medmm.result import Review, ScoredCase
from medmm.store.store import Store
from medmm.write.picture import FILMS
from pipelines import terminal
from pipelines.form import Form

EXPORT = "export"
"""Below OUT: one folder for each form."""
LISTED = "export.csv"
"""Below OUT: what could not be written."""


@dataclass(frozen=True, slots=True)
class Unwritten:
    """A case that could not be written in one form: a row of export.csv."""

    form: Form
    why: DataError


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to."""

    written: int
    known: int
    """Files that were there already, and were left alone."""
    refused: tuple[Unwritten, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """One case as it is written: its newest prediction, and what people said of it."""

    said: ScoredCase
    at: datetime
    reviews: tuple[Review, ...]
    films: Path
    """Folder of the films' pictures."""
    flagged_only: bool

    @property
    def labels(self) -> tuple[str, ...]:
        """Whose overlays are written."""
        return tuple(
            finding.label
            for finding in self.said.prediction.findings
            if finding.call == "flagged" or not self.flagged_only
        )


File = tuple[str, Callable[[Path], object]]
"""The end of a file's name, which tells it from the other ones of its case, and what writes it at a path."""


def export_folder(
    out: Path, forms: Sequence[Form] = (Form.SR,), *, flagged_only: bool = False, store: str | None = None
) -> Exported:
    """Write the newest prediction of each case by the latest model of `out`, in each form; leave OUT/export.csv.

    A file is named by digests of the case, of what it was made from and of what people said since; one that is there
    is left alone, so that a run that was stopped goes on, and a second one writes nothing.

    Args:
        out: folder that `medmm score` left.
        forms: which to write.
        flagged_only: leave out cases without a flagged finding, and overlays of findings that are not flagged.
        store: URL of the database that holds what was scored; the store in `out` if None.

    Raises:
        StoreError: if nothing was scored there, or the store cannot be used.
    """
    written = known = 0
    refused: list[Unwritten] = []
    with Store.existing(store or out) as kept, terminal.counting("Exporting") as progress:
        cases = list(_cases(kept, flagged_only))
        for number, (model_id, case_id, at) in enumerate(cases, start=1):
            said, reviews = kept.case(model_id, case_id), kept.reviews(model_id, case_id)
            case = Outgoing(said, at, reviews, out / FILMS, flagged_only)
            for form in dict.fromkeys(forms):
                try:
                    for path, write in _files(case, form, out / EXPORT / form):
                        if path.exists():
                            known += 1
                            continue
                        write(path)
                        written += 1
                except DataError as problem:
                    refused.append(Unwritten(form, problem))
            progress(number, len(cases))
    _list(out, refused)
    there = f", {known} there from an earlier run" if known else ""
    listed = f", {len(refused)} could not be written: {out / LISTED}" if refused else ""
    terminal.console.print(f"{len(cases)} cases: {written} files written{there}{listed}; in {out / EXPORT}")
    return Exported(written, known, tuple(refused))


def _cases(store: Store, flagged_only: bool) -> Iterator[tuple[str, str, datetime]]:
    """Model, case id and time of scoring of each case, by case id."""
    model_id = store.latest_model()
    for row in store.worklist(model_id, order="case"):
        if not flagged_only or any(finding.call == "flagged" for finding in row.prediction.findings):
            yield model_id, row.prediction.case_id, row.scored_at


def _files(case: Outgoing, form: Form, folder: Path) -> Iterator[tuple[Path, Callable[[Path], object]]]:
    """Where the files of a case go, and what writes each; no name holds anything of a patient."""
    said = case.said.prediction
    words = [] if form in (Form.CAPTURE, Form.MAP) else [(w.label, w.reviewer, w.at.isoformat()) for w in case.reviews]
    made_from = json.dumps([said.case_id, said.model_id, case.said.content, words])
    for end, write in _FORMS[form](case):
        yield folder / f"{_digest(said.case_id, 16)}-{_digest(made_from, 12)}-{end}", write


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def _report(case: Outgoing) -> Iterator[File]:
    from medmm.write.dicom.report import report_of
    from medmm.write.dicom.study import write_dicom

    yield "report.dcm", lambda path: write_dicom(path, report_of(case.said, case.at, case.reviews))


def _captures(case: Outgoing) -> Iterator[File]:
    from medmm.write.dicom.capture import capture_of
    from medmm.write.dicom.study import Drawn, Stamp, drawn_on, write_dicom

    stamp = Stamp(case.said, case.at)

    def write(drawn: Drawn, path: Path) -> None:
        write_dicom(path, capture_of(drawn, stamp, case.films))

    for drawn in drawn_on(stamp):
        if drawn.finding.label in case.labels:
            yield f"{drawn.number}.dcm", partial(write, drawn)


def _maps(case: Outgoing) -> Iterator[File]:
    """Of films; of a case that has only slices, the first one says why there is none."""
    from medmm.write.dicom.parametric import map_of
    from medmm.write.dicom.study import Drawn, Stamp, drawn_on, write_dicom

    stamp = Stamp(case.said, case.at)

    def write(drawn: Drawn, path: Path) -> None:
        write_dicom(path, map_of(drawn, stamp))

    wanted = [drawn for drawn in drawn_on(stamp) if drawn.finding.label in case.labels]
    for drawn in [drawn for drawn in wanted if not drawn.film.part] or wanted[:1]:
        yield f"{drawn.number}.dcm", partial(write, drawn)


def _bundles(case: Outgoing) -> Iterator[File]:
    from medmm.write.fhir import Release, bundle_of

    def write(release: Release, path: Path) -> None:
        bundle = bundle_of(case.said, case.at, case.reviews, release)
        text = json.dumps(bundle, ensure_ascii=False, indent=1) + "\n"
        write_whole(path, lambda target: target.write_text(text, encoding="utf-8"))

    releases: tuple[Release, ...] = ("R4", "R5")
    for release in releases:
        yield f"{release}.json", partial(write, release)


def _page(case: Outgoing) -> Iterator[File]:
    from medmm.write.pdf import write_pdf

    yield "page.pdf", lambda path: write_pdf(path, case.said, case.at, case.reviews, case.films)


_FORMS: Mapping[Form, Callable[[Outgoing], Iterator[File]]] = {
    Form.SR: _report,
    Form.CAPTURE: _captures,
    Form.MAP: _maps,
    Form.FHIR: _bundles,
    Form.PDF: _page,
}
"""Form -> the files of a case."""


def _list(out: Path, refused: Sequence[Unwritten]) -> None:
    """Leave export.csv: what could not be written, why, and what to do about it."""
    import pandas as pd

    columns = ["case_id", "as", "code", "problem", "remedy"]
    rows = [[one.why.case_id, one.form.value, one.why.code.value, one.why.problem, one.why.remedy] for one in refused]
    table = pd.DataFrame(rows, columns=columns)
    write_whole(out / LISTED, lambda path: table.to_csv(path, index=False, lineterminator="\n"))
