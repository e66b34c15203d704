"""What is said of a case: Finding, Prediction, Explanation, Evidence, Refusal, Review. Frozen values; no torch.

Every probability here is calibrated, and every log-odds is the log-odds of a calibrated probability.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import log
from typing import Literal, Self

import numpy as np

from medmm.case import RecordValue
from medmm.errors import DataError, Reason
from medmm.placement import Placement

Verdict = Literal["accept", "override", "cannot judge"]
"""accept: the model's word stands; override: the opposite of it does; cannot judge: neither is said."""

Role = Literal["reader", "lead", "admin"]
"""What a person may do: leads and admins also adjudicate, and take a claim away."""

Reading = Literal["first reader", "second reader", "adjudicator"]
"""In which capacity a person reads a case."""

State = Literal["undecided", "decided", "agreed", "disagreed", "adjudicated"]
"""How people stand to one label: nobody, one, several alike, several not alike, or a lead between them."""

Call = Literal["flagged", "not flagged", "uncertain"]
"""What the model says of one label; uncertain where either answer would break a promise, see Limits."""

Span = tuple[float, float]
"""Least and greatest value, both included."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a label's probability must lie on one side before the model may speak: split conformal, class by class.

    Of cases like those that it was chosen on, at most `error` of those that have the label are called not flagged, and
    at most `error` of those that have it not are called flagged (Vovk 2012, "Conditional validity").
    """

    present_from: float
    """Below it at most `error` of the cases with the label lie; only there may it be called not flagged."""
    absent_to: float
    """Above it at most `error` of the cases without it lie; only there may it be called flagged."""
    error: float
    """In (0, 1)."""


def call_of(probability: float, threshold: float, limits: Limits | None) -> Call:
    """What a model says: the side of the threshold, or uncertain where it promised not to speak."""
    if probability >= threshold:
        return "flagged" if limits is None or probability > limits.absent_to else "uncertain"
    return "not flagged" if limits is None or probability < limits.present_from else "uncertain"


@dataclass(frozen=True, slots=True)
class Without:
    """What the model would say of a finding, had the case come without one of its modalities."""

    probability: float
    """Calibrated for what is left, in [0, 1]."""
    call: Call
    """By the same threshold, and by the limits for what is left."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one modality added to one finding: its exact Shapley value over the modalities present."""

    modality: str
    """image, note or record."""
    log_odds: float
    """Signed, natural log-odds. Exactly 0 for a modality that the case does not have."""
    without: Without | None = None
    """None for a modality that the case does not have, and of a prediction that an earlier medmm made."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One label of one case: how probable, against which threshold, and who spoke for it."""

    label: str
    probability: float
    """Calibrated, in [0, 1]."""
    threshold: float
    """Chosen on validation cases; at or above it the label is flagged."""
    base_log_odds: float
    """What the model says of a case of which it knows nothing."""
    contributions: tuple[Contribution, ...] = ()
    """One for each modality; with `base_log_odds` they sum to the log-odds of `probability`."""
    interaction: float = 0.0
    """Part of the log-odds that no modality brings alone: all present together, less each alone above the base."""
    limits: Limits | None = None
    """For this label and the modalities that the case has; None of a model that promises nothing."""

    @property
    def call(self) -> Call:
        """What the model says, see `call_of`."""
        return call_of(self.probability, self.threshold, self.limits)

    @property
    def flagged(self) -> bool:
        """Whether the probability reached the threshold. Not flagged does not mean ruled out."""
        return self.probability >= self.threshold

    @property
    def margin(self) -> float:
        """Log-odds of the probability above those of the threshold; at least 0 if and only if flagged."""
        return _log_odds(self.probability) - _log_odds(self.threshold)


def _log_odds(probability: float) -> float:
    """Log-odds, bounded where a float holds no more than certainty."""
    probability = min(max(probability, 1e-12), 1 - 1e-12)
    return log(probability / (1 - probability))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one model said of one case."""

    case_id: str
    model_id: str
    """The first 12 hexadecimal digits of the digest of the model folder."""
    findings: tuple[Finding, ...]
    """One for each label of the model, in the model's order."""
    present: tuple[str, ...]
    """The modalities that the model was given."""
    absent: tuple[str, ...]
    """The modalities that the model knows how to use and was not given."""
    remarks: tuple[str, ...] = ()
    """What the reader did or left out, for the person who reads the result."""
    doubts: tuple[str, ...] = ()
    """Why this case may be unlike what the model learnt from, or not what it seems; empty if nothing was noticed."""

    @property
    def flagged(self) -> tuple[Finding, ...]:
        """The findings at or above their threshold, in the model's order."""
        return tuple(finding for finding in self.findings if finding.flagged)

    @property
    def leading(self) -> Finding:
        """The finding that lies furthest above its threshold, or least below it; it decides the case's urgency."""
        return max(self.findings, key=lambda finding: finding.margin)


@dataclass(frozen=True, slots=True)
class WordWeight:
    """How much one whole word of the note moved one finding; of what is denied, the phrase; in a long note, a run."""

    start: int
    """Offset of the first character in the note."""
    end: int
    """Offset behind the last character."""
    log_odds: float
    """Signed: what the finding's log-odds lose when the model may not look at it."""


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """What each cell of a grid was worth to one finding, and where the cells lie on the original image."""

    cells: np.ndarray
    """(down, across) float32: log-odds that the finding owes to the cell; NaN where the model did not look."""
    placement: Placement

    def heatmap(self) -> np.ndarray:
        """The same in the grid of the original pixels: (rows, columns) float32, bilinear, NaN kept apart."""
        return self.placement.to_original(self.cells)


@dataclass(frozen=True, slots=True)
class Region:
    """Part of one picture."""

    picture: int
    """Number of the film in the evidence, from 0."""
    cells: tuple[int, ...]
    """Cells of the encoder's grid, row by row, ascending."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was hidden so that the model calls one label otherwise."""

    label: str
    flagged: bool
    """Before; the opposite holds after."""
    before: float
    """Log-odds of the whole case."""
    after: float
    """Log-odds of the case without what is named here."""
    regions: tuple[Region, ...]
    words: tuple[tuple[int, int], ...]
    """Where hidden words begin and end in the note, in order."""
    columns: tuple[str, ...]
    """Of the record."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Where the model looked for one finding, on the original images and in the characters of the note."""

    label: str
    method: str
    """The name of the overlay's method, shown beside the picture: 'integrated gradients'."""
    overlays: tuple[Overlay, ...]
    """One for each film of the evidence."""
    words: tuple[WordWeight, ...]
    record: Mapping[str, float] = field(default_factory=dict)
    """Record column -> what the finding's log-odds lose without its value; of the values that were taken."""
    deletion: Deletion | None = None
    """Without what the finding would be called otherwise; None if nobody asked or nothing was found."""


@dataclass(frozen=True, slots=True)
class Film:
    """One film or slice that the model was given, as it is shown beside the prediction."""

    digest: str
    """SHA-256 of the file that it came from, or of the slice; the name under which its picture is kept."""
    modality: str
    view: str
    remarks: tuple[str, ...] = ()
    prior: bool = False
    """Whether it is of the prior study."""
    part: str = ""
    """Which part of a volume it is: 'slice 12 of 300', 'frame 3 of 40'; empty for a film."""
    series_uid: str = ""
    """Series Instance UID (0020,000E); empty for PNG and JPEG, and so are the next two."""
    instance_uid: str = ""
    """SOP Instance UID (0008,0018)."""
    sop_class: str = ""
    """SOP Class UID (0008,0016)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a study was read from, and whom its files name: for reports in that study and for a viewer."""

    path: str = field(repr=False)
    """A file, a folder, or a zip archive, absolute."""
    members: tuple[str, ...] = field(repr=False)
    """Names of its files below the folder or in the archive; empty: all that there are."""
    header: str = field(repr=False)
    """As Study.header: DICOM JSON; empty for PNG and JPEG."""
    windows: tuple[tuple[float, float], ...] = ()
    """Centre and width of windows that the cohort asked for instead of what files say."""


@dataclass(frozen=True, slots=True)
class SimilarCase:
    """One labelled training case and how far it lies from the case that was asked about."""

    case_id: str
    distance: float
    """Root mean square, over sides and labels, of the differences in spreads of each label; 0 for the same."""
    labels: Mapping[str, bool | None]
    """None where not stated."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the model was given and where it looked: all that a person needs to check a prediction."""

    films: tuple[Film, ...]
    note: str
    """The note's text; empty if there was none."""
    record: Mapping[str, RecordValue]
    units: Mapping[str, str]
    """Record column -> unit; a category has none."""
    explanations: tuple[Explanation, ...]
    """One for each finding, in the model's order."""
    similar: tuple[SimilarCase, ...] = ()
    """Labelled training cases of other patients that the model decides alike, the nearest first."""
    study: Origin | None = None
    """Of the images of now; None without images."""
    prior: Origin | None = None
    """Of the prior study."""
    usual: Mapping[str, Span] = field(default_factory=dict)
    """Record column -> the range that is usual, in its unit; for numbers of which the cohort or the model states it."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredCase:
    """A prediction with its evidence, and the digest of the files, note and record that it was made from."""

    prediction: Prediction
    evidence: Evidence
    content: str
    """SHA-256, hexadecimal: the same case with other content is scored again."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A case that could not be scored: a row of quarantine.csv."""

    case_id: str
    code: Reason
    problem: str
    remedy: str

    @classmethod
    def of(cls, error: DataError) -> Self:
        """What is kept of the error that a case raised."""
        return cls(error.case_id, error.code, error.problem, error.remedy)


@dataclass(frozen=True, slots=True)
class Outline:
    """A region that a person drew on a film."""

    film: str
    """Film.digest."""
    points: tuple[tuple[float, float], ...]
    """Corners of a polygon, (column, row) in original pixels; 0, 0 is the outer corner of the first pixel
    (PS3.3 C.18.6)."""


@dataclass(frozen=True, slots=True)
class Review:
    """A person's word on one finding. Reviews are added, never changed; the newest one of a person counts."""

    case_id: str
    model_id: str
    label: str
    verdict: Verdict
    comment: str
    reviewer: str
    at: datetime
    """UTC."""
    role: Role = "reader"
    reading: Reading = "first reader"
    present: bool | None = None
    """Whether the label holds, by this word; None where it says neither: cannot judge, or accept of 'uncertain'."""
    blind: bool = False
    """Whether it was said before the model's answer was shown."""
    outline: Outline | None = None
    event: int = field(default=0, compare=False)
    """Number of its event in the audit trail; 0 before it is there."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What people made of one label of one prediction."""

    state: State
    words: tuple[Review, ...] = ()
    """The newest word of each person that was not taken back, oldest first."""
    present: bool | None = None
    """Whether the label holds; None while that is open: undecided, disagreed, or nobody could say."""


def standing_of(words: Iterable[Review]) -> Standing:
    """How people stand to one label of one prediction, by what they said of it, oldest first.

    The newest word of each person counts. The newest adjudication ends it; otherwise those who could judge must agree.
    """
    newest: dict[str, Review] = {}
    for word in words:
        newest.pop(word.reviewer, None)
        newest[word.reviewer] = word
    said = tuple(newest.values())
    ending = [word for word in said if word.reading == "adjudicator"][-1:]
    judging = ending or [word for word in said if word.verdict != "cannot judge"] or said
    if not judging:
        return Standing("undecided")
    if len({(word.verdict, word.present) for word in judging}) > 1:
        return Standing("disagreed", said)
    state: State = "adjudicated" if ending else "decided" if len(judging) == 1 else "agreed"
    return Standing(state, said, judging[0].present)
