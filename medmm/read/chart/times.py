"""Times as tables and FHIR write them, brought to the hospital's clock and compared on the safe side."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

_MONTH = re.compile(r"(\d{4})(?:-(\d{2}))?")
_DAY = re.compile(r"\d{4}-?\d{2}-?\d{2}")
_TIME = re.compile(_DAY.pattern + r"[T ]\d{2}:?\d{2}.*", re.IGNORECASE)
_EASTERNMOST = timedelta(hours=14)
"""How far ahead of UTC a clock can be (Pacific/Kiritimati)."""
_LAST_SECOND = time(23, 59, 59)


def read_time(text: str, zone: tzinfo | None = None) -> datetime | None:
    """Read a time in ISO 8601 as the hospital's clock showed it; None if it is none, or an hour or a week.

    A day, a month or a year (FHIR writes them as '2024-05' and '2024') becomes its last moment.

    Args:
        text: a time without an offset from UTC is taken to be by the hospital's clock, as in DICOM headers.
        zone: of the hospital's clock. Without it a time with an offset from UTC is known to its day only, the last
            that it can have been anywhere.

    Returns:
        The latest moment that the text allows, without time zone.
    """
    text = text.strip()
    try:
        if month := _MONTH.fullmatch(text):
            year, number = int(month[1]), int(month[2] or 12)
            return datetime.combine(date(year, number, calendar.monthrange(year, number)[1]), time.max)
        if _DAY.fullmatch(text):
            return datetime.combine(date.fromisoformat(text), time.max)
        if not _TIME.fullmatch(text):
            return None
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return moment
        if zone is not None:
            return moment.astimezone(zone).replace(tzinfo=None)
        return datetime.combine((moment.astimezone(UTC) + _EASTERNMOST).date(), time.max)
    except (ValueError, OverflowError):
        return None


def has_offset(text: str) -> bool:
    """Whether a text is a time that states its offset from UTC."""
    try:
        return datetime.fromisoformat(text.strip()).tzinfo is not None
    except ValueError:
        return False


def is_before(moment: datetime, study: datetime) -> bool:
    """Whether something is shown to have been there when the study was made.

    On the day of the study that takes two clock times: a day without one ends at midnight, and a study without one
    (see Study.time) may have been made when that day began.
    """
    if study.time() >= _LAST_SECOND:
        return moment.date() < study.date()
    return moment <= study
