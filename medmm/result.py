"""What is said of a case: Finding, Prediction, Explanation, Review, Refusal. Frozen values; no torch.

Every probability here is calibrated, and every log-odds is the log-odds of a calibrated probability.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from medmm.errors import Reason


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one modality added to one finding: its exact Shapley value over the modalities present."""

    modality: str
    """image, note or record."""
    log_odds: float
    """Signed, natural log-odds. Exactly 0 for a modality that the case does not have."""


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

    @property
    def flagged(self) -> bool:
        """Whether the probability reached the threshold. Not flagged does not mean ruled out."""
        return self.probability >= self.threshold


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

    @property
    def flagged(self) -> tuple[Finding, ...]:
        """The findings at or above their threshold, in the model's order."""
        return tuple(finding for finding in self.findings if finding.flagged)


@dataclass(frozen=True, slots=True)
class WordWeight:
    """How much one whole word of the note moved one finding."""

    start: int
    """Offset of the first character in the note."""
    end: int
    """Offset behind the last character."""
    log_odds: float
    """Signed: what the finding's log-odds lose when the model may not look at the word."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Where the model looked for one finding, in the grid of the original pixels and the characters of the note."""

    label: str
    method: str
    """The name of the method, shown beside the picture: 'token occlusion'."""
    heatmaps: tuple[np.ndarray, ...]
    """One (rows, columns) float32 for each image: change of log-odds; NaN where the model did not look."""
    words: tuple[WordWeight, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A case that could not be scored: a row of quarantine.csv."""

    case_id: str
    code: Reason
    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Review:
    """A person's word on one finding. Reviews are added, never changed; the newest one counts."""

    case_id: str
    model_id: str
    label: str
    verdict: str
    """accept (the model's word stands) or override (the opposite of the model's word)."""
    comment: str
    reviewer: str
    at: datetime
    """UTC."""
