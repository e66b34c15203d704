"""Check the audit trail of a scored folder, and take what people decided out of it: as tables, or to train on.

medmm audit verify OUT; medmm audit export OUT --as cohort --to PATH
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from medmm.errors import CohortError
from medmm.result import Finding, Review, Standing
from medmm.store.events import COLUMNS, Head, Reader, Shown
from medmm.store.store import Store
from medmm.store.verify import Verified
from pipelines import terminal
from pipelines.labelled import CASES, CONFIG, write_labelled, write_table

Kind = Literal["csv", "cohort"]
EVENTS, DECISIONS = "events.csv", "decisions.csv"


def verify_trail(where: str, expect: str | None = None) -> Verified:
    """Verify the trail and print what was found, with its head.

    Args:
        where: folder that `medmm score` left, or the URL of a database.
        expect: a head that was printed earlier and kept elsewhere.

    Raises:
        StoreError: if there is no store, or `expect` is no head.
    """
    head = Head.parse(expect) if expect else None
    with _opened(where) as store:
        found = store.trail.verify(head)
    for fault in found.faults:
        terminal.console.print(f"Fault: {fault}")
    verdict = "is not as it was written" if found.faults else "is whole and as it was written"
    terminal.console.print(f"The trail of {found.events} events {verdict}.")
    if found.head and not found.faults:
        terminal.console.print(f"Head: {found.head}")
        terminal.console.print("Keep it outside this machine; --expect HEAD then shows whether the end was cut off.")
    return found


def export_trail(where: str, kind: Kind, to: Path) -> int:
    """Write what people did (csv) or what they decided, to train on (cohort); returns the number of rows.

    The export itself is an event, which is written before anything leaves the store.

    Args:
        where: folder that `medmm score` left, or the URL of a database.
        kind: csv for events.csv and decisions.csv, cohort for cases.csv, cohort.toml and studies.
        to: the folder to write into.

    Raises:
        StoreError: if there is no store, or nothing was scored in it.
        CohortError: if there is a cohort in `to`, or no label of any case stands decided.
    """
    with _opened(where) as store:
        model_id = store.latest_model()
        decided = store.trail.standings(model_id)
        reader = Reader(_user())
        if kind == "csv":
            store.trail.exported(reader, kind, Shown("", ""), len(decided))
            rows = _write_tables(store, model_id, decided, to)
            terminal.console.print(f"{rows} events in {to / EVENTS}, what stands in {to / DECISIONS}")
            return rows
        answers = _answers(decided)
        if (to / CASES).exists() or (to / CONFIG).exists():
            raise CohortError("there is a cohort in that folder already", "Name another folder with --to")
        if not answers:
            raise CohortError("no label of any case stands decided", "Review cases first")
        store.trail.exported(reader, kind, Shown(model_id, ""), len(answers))
        return _write_cohort(store, model_id, answers, to)


def _user() -> str:
    """Who runs the command; a container may not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _opened(where: str) -> Store:
    """The store of a folder, or of a URL."""
    return Store.existing(where if "://" in where else Path(where))


def _write_tables(store: Store, model_id: str, decided: Mapping[str, Mapping[str, Standing]], to: Path) -> int:
    """Write every event with its hash, and every word in force on the newest predictions of the newest model."""
    trail = store.trail.rows()
    write_table(to / EVENTS, COLUMNS, trail)
    rows = [
        _decision(finding, standing, word)
        for case in store.worklist(model_id, order="case")
        for finding in case.prediction.findings
        for standing in [decided.get(case.prediction.case_id, {}).get(finding.label, Standing("undecided"))]
        for word in standing.words
    ]
    write_table(to / DECISIONS, _DECISION, rows)
    return len(trail)


_DECISION = (
    *("case_id", "model_id", "label", "probability", "threshold", "call", "state", "stands"),
    *("reviewer", "role", "reading", "at", "verdict", "present", "blind", "comment", "outline", "event"),
)


def _decision(finding: Finding, standing: Standing, word: Review) -> dict[str, object]:
    """One word on one label, beside what the model said and what came of it."""
    return asdict(word) | {
        "probability": finding.probability,
        "threshold": finding.threshold,
        "call": finding.call,
        "state": standing.state,
        "stands": _cell(standing.present),
        "at": word.at.isoformat(),
        "present": _cell(word.present),
        "blind": int(word.blind),
        "outline": json.dumps(asdict(word.outline)) if word.outline else "",
    }


def _cell(present: bool | None) -> str:
    """1 present, 0 absent, nothing where neither is said."""
    return "" if present is None else str(int(present))


def _answers(decided: Mapping[str, Mapping[str, Standing]]) -> dict[str, dict[str, bool]]:
    """Case id -> label -> what stands, of the cases where anything does."""
    found = {
        case_id: {label: standing.present for label, standing in labels.items() if standing.present is not None}
        for case_id, labels in decided.items()
    }
    return {case_id: labels for case_id, labels in sorted(found.items()) if labels}


def _write_cohort(store: Store, model_id: str, answers: Mapping[str, Mapping[str, bool]], to: Path) -> int:
    """Write the cohort, and say what became of it."""
    first = store.case(model_id, next(iter(answers)))
    labels = [finding.label for finding in first.prediction.findings]
    cases = ((store.case(model_id, case_id), stands) for case_id, stands in answers.items())
    done = write_labelled(cases, labels, to)
    if done.without_patient:
        terminal.console.print(f"{done.without_patient} cases do not say whose they are: each counts as a patient")
    if done.without_study:
        terminal.console.print(f"{done.without_study} cases lack a study that is not where it was read")
    for column in done.left_out:
        terminal.console.print(
            f"Column {column} has one word only and is no input; name it in {CONFIG} if it should be"
        )
    terminal.console.print(f"{done.cases} cases in {to / CASES}, their columns in {to / CONFIG}")
    return done.cases
