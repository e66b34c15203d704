"""Whom the files of a study name and which study they belong to: what a report in that study repeats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from medmm.result import Origin


@dataclass(frozen=True, slots=True)
class PersonName:
    """One group of a DICOM person name (PS3.5 6.2.1.2): alphabetic, ideographic or phonetic."""

    group: str
    """Alphabetic, Ideographic or Phonetic."""
    family: str = field(repr=False)
    given: str = field(repr=False)
    middle: str = field(repr=False)
    prefix: str = field(repr=False)
    suffix: str = field(repr=False)

    def __str__(self) -> str:
        """As on a letter: 'Dr Müller, Ada Maria'."""
        first = " ".join(part for part in (self.given, self.middle, self.suffix) if part)
        last = " ".join(part for part in (self.prefix, self.family) if part)
        return ", ".join(part for part in (last, first) if part)


@dataclass(frozen=True, slots=True)
class Examined:
    """The patient and the study of an Origin; whatever its files do not state, or state wrongly, is empty or None."""

    patient_id: str = field(default="", repr=False)
    """Patient ID (0010,0020)."""
    issuer: str = field(default="", repr=False)
    """Issuer of Patient ID (0010,0021)."""
    names: tuple[PersonName, ...] = field(default=(), repr=False)
    born: date | None = field(default=None, repr=False)
    sex: str = ""
    """M, F or O."""
    study_uid: str = ""
    """Study Instance UID (0020,000D)."""
    study_date: date | None = None
    study_time: str = ""
    """Hours and minutes as the hospital's clock showed them: '10:15'."""
    accession: str = field(default="", repr=False)
    """Accession Number (0008,0050)."""


def examined(origin: Origin | None) -> Examined:
    """Read the header of an Origin; without one, or of PNG and JPEG, nothing is known."""
    if origin is None or not origin.header:
        return Examined()
    header: Mapping[str, Any] = json.loads(origin.header)
    sex = _text(header, "00100040")
    return Examined(
        patient_id=_text(header, "00100020"),
        issuer=_text(header, "00100021"),
        names=tuple(_names(header)),
        born=_date(_text(header, "00100030")),
        sex=sex if sex in ("M", "F", "O") else "",
        study_uid=_text(header, "0020000D"),
        study_date=_date(_text(header, "00080020")),
        study_time=_minutes(_text(header, "00080030")),
        accession=_text(header, "00080050"),
    )


def _first(header: Mapping[str, Any], tag: str) -> object:
    """The first value of an element (PS3.18 F.2.2), None where there is none."""
    values = header.get(tag, {}).get("Value") or [None]
    return values[0]


def _text(header: Mapping[str, Any], tag: str) -> str:
    value = _first(header, tag)
    return "" if value is None else str(value).strip()


def _names(header: Mapping[str, Any]) -> list[PersonName]:
    """Patient's Name (0010,0010), one for each group that says something."""
    groups = _first(header, "00100010")
    if not isinstance(groups, Mapping):
        return []
    parts = {group: [part.strip() for part in f"{text}^^^^".split("^")[:5]] for group, text in groups.items()}
    return [PersonName(group, *said) for group, said in parts.items() if any(said)]


def _date(text: str) -> date | None:
    """A DICOM date (PS3.5 6.2, DA)."""
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None


def _minutes(text: str) -> str:
    """Hours and minutes of a DICOM time (PS3.5 6.2, TM)."""
    try:
        return f"{datetime.strptime(text[:4], '%H%M'):%H:%M}"
    except ValueError:
        return ""
