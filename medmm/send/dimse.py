"""C-STORE as a client (PS3.4 B, PS3.7 9.1.1), for a PACS without DICOMweb. Nothing on the way is encrypted."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from medmm.errors import CohortError, ConfigError
from medmm.read.guard import silence
from medmm.send.item import Item
from medmm.send.status import NO_SUCH_CLASS, Answer, UnavailableError

if TYPE_CHECKING:
    from pynetdicom.association import Association

OURS = "MEDMM"
"""AE title under which objects are sent."""
_PORT = 104
_TIMEOUT_S = 60
_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e]{1,16}")
"""An AE title (PS3.5 6.2) without spaces."""
_TRANSIENT = 2
"""Result of A-ASSOCIATE-RJ (PS3.8 9.3.4)."""


class DimseTarget:
    """A storage SCP, for as long as the `with` lasts."""

    def __init__(self, url: str, ours: str = OURS) -> None:
        """Connect to nothing yet.

        Args:
            url: dicom://AET@host:port, the port 104 if left out.
            ours: our own AE title, which the PACS may have to know.

        Raises:
            ConfigError: if that is no such URL, or a title is none.
        """
        parts = urlsplit(url)
        title = parts.username or ""
        try:
            self._address = parts.hostname or "", parts.port or _PORT
        except ValueError:
            self._address = "", 0
        if not self._address[0] or not _TITLE.fullmatch(title) or parts.password or parts.path.strip("/"):
            raise ConfigError("the PACS's address is not understood", "Write it as dicom://AET@host:port")
        if not _TITLE.fullmatch(ours):
            raise ConfigError("our AE title is none", "Use at most 16 letters, digits or signs, without spaces")
        self._title, self._ours = title, ours
        self.name = f"dicom://{title}@{self._address[0]}:{self._address[1]}"

    def __enter__(self) -> Self:
        logger = logging.getLogger("pynetdicom")  # it writes what is in the objects
        self._level = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, thrown: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("pynetdicom").setLevel(self._level)

    def send(self, items: list[Item]) -> Iterator[Answer]:
        """Send objects over one association, see Target.send."""
        association = self._associated(items)
        taken = {(one.abstract_syntax, one.transfer_syntax[0]) for one in association.accepted_contexts}
        try:
            for item in items:
                fits = (item.sop_class, item.syntax) in taken
                yield Answer(item.uid, _stored(association, item) if fits else NO_SUCH_CLASS)
        finally:
            if association.is_established:
                association.release()

    def _associated(self, items: list[Item]) -> Association:
        """Agree on what will be sent; the association has ended already if the PACS takes nothing of it.

        Raises:
            UnavailableError: if nobody answers, or not now.
            CohortError: if we are turned away for good.
        """
        from pynetdicom import AE, build_context

        ours = AE(self._ours)
        ours.acse_timeout = ours.dimse_timeout = ours.network_timeout = ours.connection_timeout = _TIMEOUT_S
        kinds = dict.fromkeys((item.sop_class, item.syntax) for item in items)
        contexts = [build_context(*kind) for kind in kinds]  # one each: of several syntaxes a PACS would choose one
        association = ours.associate(*self._address, contexts, self._title)
        if association.is_established or association.rejected_contexts:
            return association
        rejection = association.acceptor.primitive
        if association.is_rejected and rejection is not None and rejection.result != _TRANSIENT:
            problem = f"the PACS rejects the association ({rejection.reason_str})"
            raise CohortError(problem, f"Check its AE title, and that it knows ours, {self._ours}")
        raise UnavailableError("rejects associations now" if association.is_rejected else "does not answer")


def _stored(association: Association, item: Item) -> int:
    """Store one object; returns the status.

    Raises:
        UnavailableError: if the association ended.
    """
    try:
        with silence():  # warnings quote values
            status = association.send_c_store(item.path).get("Status")
    except RuntimeError:
        status = None
    if status is None:
        raise UnavailableError("ended the association")
    return int(status)
