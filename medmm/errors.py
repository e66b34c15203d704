"""Everything that can go wrong, as one tree; each error says what is wrong and what to do about it.

    MedmmError
    ├── ConfigError     a setting that is unknown, missing or out of range
    ├── CohortError     a cohort table that cannot be used as a whole
    ├── DataError       one case that cannot be used as it stands; has a reason code
    ├── ModelError      a model folder or an encoder that cannot be loaded
    └── StoreError      a store of predictions and reviews that cannot be opened or written

No message ever holds a patient's name, a patient's id, or the text of a note.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a case was refused: the `code` column of quarantine.csv."""

    MISSING_STUDY = "missing-study"
    """The study's folder or file is not there."""
    EMPTY_STUDY = "empty-study"
    """The study's folder holds no image file."""
    NOT_DICOM = "not-dicom"
    """A file is neither DICOM (PS3.10) nor PNG nor JPEG."""
    NO_PIXELS = "no-pixels"
    """The study is DICOM, but no instance of it carries pixel data."""
    UNSUPPORTED = "unsupported"
    """DICOM that medmm knows and does not read: a transfer syntax, a photometric interpretation, float pixels."""
    CORRUPT = "corrupt"
    """The pixel data do not decode, or are shorter than the header says."""
    TOO_LARGE = "too-large"
    """The header declares more pixels than the limit."""
    BAD_RECORD = "bad-record"
    """A record value that is not a number where a number is due, or not one of the categories."""
    NOTHING_TO_READ = "nothing-to-read"
    """The case has no image, no note and no record value."""
    MIXED = "mixed"
    """One folder holds files of several patients or of several studies."""
    NO_MATCH = "no-match"
    """No image of the study matches a rule of [[images]] in cohort.toml."""
    OUTSIDE = "outside"
    """A path in a table, an archive or a DICOMDIR leads out of its folder."""
    WRONG_PRIOR = "wrong-prior"
    """The prior study is another patient's, or is not earlier than the study."""
    NOT_RETRIEVED = "not-retrieved"
    """The server does not give the study, or not all of it."""
    TIMEOUT = "timeout"
    """Reading took longer than the limit; the reader was stopped."""
    CRASH = "crash"
    """The reading process died."""


class MedmmError(Exception):
    """Any error that medmm raises on purpose: one line, a problem and its remedy."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = " ".join(problem.split()).rstrip(".")
        self.remedy = " ".join(remedy.split()).rstrip(".")
        super().__init__(f"{self.problem}. {self.remedy}" + ("" if self.remedy.endswith("?") else "."))

    def __reduce__(self) -> tuple[type["MedmmError"], tuple[str, ...]]:
        return type(self), (self.problem, self.remedy)  # so that it travels between processes


class ConfigError(MedmmError):
    """A setting that is unknown, missing or out of range."""


class CohortError(MedmmError):
    """A cohort table that cannot be used as a whole: no rows, a missing column, a label without both answers."""


class DataError(MedmmError):
    """One case that cannot be used as it stands. Scoring turns it into a row; it never ends a run."""

    def __init__(self, case_id: str, code: Reason, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.case_id = case_id
        self.code = code

    def __str__(self) -> str:
        return f"case {self.case_id}: {super().__str__()}"

    def __reduce__(self) -> tuple[type["DataError"], tuple[str, ...]]:
        return type(self), (self.case_id, self.code, self.problem, self.remedy)


class ModelError(MedmmError):
    """A model folder or an encoder that cannot be loaded, or that does not fit what it is asked."""


class StoreError(MedmmError):
    """A store of predictions and reviews that cannot be opened or written."""
