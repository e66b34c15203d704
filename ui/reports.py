"""Reports that other commands left near a scored folder: found by the model that they speak of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

_NAMES = ("report.html", "model_card.html", "monitor.html")
"""As train, evaluate, calibrate and monitor call them."""
_MOST_BYTES = 2**24
_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Report:
    """One page of HTML."""

    title: str
    """Its own, and the folder in which it lies."""
    page: str = field(repr=False)


def reports(out: Path, model_id: str) -> list[Report]:
    """Every report on the model in `out` and in the folders beside it, by title; what cannot be read is left out."""
    out = out.resolve()
    folders = {out, *(folder for folder in out.parent.glob("*") if folder.is_dir())}
    found = [report for folder in folders for report in _in(folder, model_id)]
    return sorted(found, key=lambda report: report.title)


def _in(folder: Path, model_id: str) -> Iterator[Report]:
    for name in _NAMES:
        path = folder / name
        try:
            page = path.read_text("utf-8") if path.is_file() and path.stat().st_size <= _MOST_BYTES else ""
        except (OSError, UnicodeDecodeError):
            continue
        title = _TITLE.search(page)
        if title and model_id in page:
            yield Report(f"{unescape(title[1]).strip()} ({folder.name})", page)
