"""Between medmm and the codecs: silence while they work, and one exception for whatever they throw."""

import logging
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pydicom import config

from medmm.errors import DataError, Reason

MAX_PIXELS = 2**28
"""Rows x columns x frames x samples; a header that declares more is refused before anything is decoded."""
MAX_BYTES = 2**30
"""Size of one file, and of one deflated file when it is inflated."""

_TALKERS = ("pydicom", "PIL", "pylibjpeg", "openjpeg")
_SILENT = logging.CRITICAL + 1
_ONE_AT_A_TIME = threading.RLock()
"""Python's warnings and pydicom's switches belong to the process: two threads must not restore them crosswise."""


class RefusedError(Exception):
    """A file that cannot be used, before it is known to which case it belongs."""

    def __init__(self, code: Reason, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.code = code
        self.problem = problem
        self.remedy = remedy

    def of_file(self, where: str) -> "RefusedError":
        """Return the same refusal with the file's place in its study."""
        return RefusedError(self.code, f"{where} {self.problem}", self.remedy)

    def of_case(self, case_id: str) -> DataError:
        """Return the same refusal as the error that the case raises."""
        return DataError(case_id, self.code, self.problem, self.remedy)


@contextmanager
def guarded(doing: str, remedy: str) -> Iterator[None]:
    """Keep pydicom and the codecs from logging and warning, which quote the header; turn what they throw to a refusal.

    A Rust codec that panics throws a PanicException, which is not an Exception; it is caught too.

    Args:
        doing: what the file does when it fails here: 'does not decode'.
        remedy: what the user can do about it.

    Raises:
        RefusedError: TOO_LARGE if memory ran out, else CORRUPT with the name of what was thrown, never with its text.
    """
    problem: RefusedError
    try:
        with silence():
            yield
        return
    except RefusedError:
        raise
    except MemoryError:
        problem = RefusedError(Reason.TOO_LARGE, "needs more memory than it may have", "Reduce it, or check its header")
    except RecursionError:
        problem = RefusedError(Reason.CORRUPT, "nests its sequences deeper than can be read", remedy)
    except BaseException as thrown:
        name = type(thrown).__name__
        if not isinstance(thrown, Exception) and name != "PanicException":
            raise
        problem = RefusedError(Reason.CORRUPT, f"{doing} ({name})", remedy)
    raise problem


@contextmanager
def silence() -> Iterator[None]:
    """Hold back warnings and log lines of the libraries that read files, and pydicom's checks of header values.

    Within itself it costs nothing: whoever reads many files keeps silence around all of them.
    """
    with _ONE_AT_A_TIME:
        if _Silent.now:
            yield
            return
        loud = {name: level for name in _TALKERS if (level := logging.getLogger(name).level) != _SILENT}
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            try:
                _Silent.now = True
                hush(loud)
                yield
            finally:
                _Silent.now = False
                for name, level in loud.items():
                    logging.getLogger(name).setLevel(level)


def hush(names: Iterable[str] = _TALKERS) -> None:
    """Hold back the log lines of these libraries for good: in a process that has nobody to tell.

    A change of levels costs milliseconds where many libraries are loaded, and `silence` finds nothing left to change.
    """
    for name in names:
        logging.getLogger(name).setLevel(_SILENT)


class _Silent:
    """Whether there is silence in this process; read and set by whoever holds the lock."""

    now = False
