"""Send what `medmm export` wrote to a PACS; a rerun sends only what was not acknowledged.

medmm send OUT --to https://pacs.example.org/dicom-web
medmm send OUT --to dicom://PACS@pacs.example.org:104 --as MEDMM
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medmm.errors import ConfigError, StoreError
from medmm.score.lock import alone_in
from medmm.send.deliver import Delivered, deliver
from medmm.send.dicomweb import DicomwebTarget
from medmm.send.dimse import OURS, DimseTarget
from medmm.send.item import items_in
from medmm.send.ledger import Ledger
from pipelines import terminal
from pipelines.export import EXPORT

KINDS = ("sr", "capture", "map")
"""Folders below OUT/export with DICOM objects."""
SENT = "sent.jsonl"
"""Below OUT/export: what was acknowledged, by whom and when."""


def send_folder(out: Path, to: str, *, ours: str = OURS, patience_s: float = 60.0) -> Delivered:
    """Send every DICOM object below OUT/export that the PACS has not acknowledged yet.

    Args:
        out: folder that `medmm export` wrote into.
        to: https://host/dicom-web, or dicom://AET@host:port.
        ours: for the second, our own AE title.
        patience_s: how long the PACS may be away before the rest is left to the next run, in seconds.

    Raises:
        StoreError: if there is nothing to send, or another run sends.
        ConfigError, CohortError: as the targets.
    """
    export = out / EXPORT
    items = items_in(export / kind for kind in KINDS)
    if not items:
        raise StoreError("there is no DICOM object to send", "Write them with 'medmm export' first")
    with alone_in(export), _target(to, ours) as target, terminal.counting("Sending") as progress:
        done = deliver(items, target, Ledger(export / SENT, target.name), patience_s, progress)
    _say(done)
    return done


def _target(to: str, ours: str) -> DicomwebTarget | DimseTarget:
    if to.lower().startswith(("https://", "http://")):
        return DicomwebTarget(to)
    if to.lower().startswith("dicom://"):
        return DimseTarget(to, ours)
    raise ConfigError("the PACS's address is not understood", "Write https://host/dicom-web or dicom://AET@host:port")


def _say(done: Delivered) -> None:
    known = f", {done.known} by an earlier run" if done.known else ""
    terminal.console.print(f"{done.sent} objects acknowledged{known}")
    for what, reasons in (("acknowledged with a warning", done.warnings), ("refused", done.refused)):
        for reason, count in Counter(reasons).items():
            terminal.console.print(f"{count} {what}: {reason}")
    if done.waiting:
        terminal.console.print(f"{done.waiting} wait: the PACS {done.away}. Give the same command to go on.")
