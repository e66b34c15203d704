"""Times as tables and FHIR write them, brought to the hospital's clock and compared on the safe side."""

from __future__ import annotations

import calendar
import re
from datetime import date, datetime, time, tzinfo

_MONTH = re.compile(r"(\d{4})(?:-(\d{2}))?")
_LAST_SECOND = time(23, 59, 59)


def read_time(text: str) -> datetime | None:
    """Read a time in ISO 8601; None if it is none.

    A day, a month or a year (FHIR writes them as '2024-05' and '2024') becomes its last moment. An offset from UTC is
    dropped: what is left is what the clock on the wall showed, as in DICOM headers.

    Returns:
        The latest moment that the text allows, without time zone.
    """
    text = text.strip()
    try:
        if month := _MONTH.fullmatch(text):
            year, number = int(month[1]), int(month[2] or 12)
            return datetime.combine(date(year, number, calendar.monthrange(year, number)[1]), time.max)
        if ":" not in text and "T" not in text:
            return datetime.combine(date.fromisoformat(text), time.max)
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return None


def on_the_clock(text: str, zone: tzinfo) -> str:
    """Return a time with an offset from UTC as the clock of a zone shows it; any other text as it is."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment.astimezone(zone).replace(tzinfo=None).isoformat() if moment.tzinfo else text


def is_before(moment: datetime, study: datetime) -> bool:
    """Whether something is shown to have been there when the study was made.

    On the day of the study that takes two clock times: a day without one ends at midnight, and a study without one
    (see Study.time) may have been made when that day began.
    """
    if study.time() >= _LAST_SECOND:
        return moment.date() < study.date()
    return moment <= study
