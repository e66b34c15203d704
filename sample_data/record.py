"""The typed values of a case: how each is drawn from the history, and how probable it is under each history.

Age and sex say nothing about history, finding or label, by design: any difference between the sexes or the ages that
a model shows is the model's own. Every other value is a normal or log-normal around a mean that the history moves,
rounded and bounded as a laboratory would; its probability is that of the rounded value, exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

HISTORIES = ("infection", "congestion", "malignancy_risk", "embolism_risk")
"""The hidden states of a history, each true or false, in the order of every table."""

STATES = np.array([[bool(n >> k & 1) for k in range(4)] for n in range(16)])
"""(16, 4) bool: every combination of the four histories."""

VALUE_GAP = 0.15
"""Chance that a value was not taken, independent of everything."""

AGES = (18.0, 95.0)
"""Youngest and oldest patient, years."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of the record that depends on the history."""

    name: str
    """Column of cases.csv; ends in the unit."""
    unit: str
    """UCUM."""
    step: float
    """Resolution of the stored value."""
    low: float
    """Smallest stored value; anything below is stored as this."""
    high: float
    """Largest stored value."""
    usual: float
    """Mean without any history; of the natural logarithm where `log`."""
    spread: float
    """Standard deviation, on the same scale."""
    effects: Mapping[str, float]
    """What each history adds to the mean, on the same scale."""
    reference: tuple[float, float]
    """Usual range of adults, stated in cohort.toml for people; nothing is drawn from it."""
    log: bool = False

    def means(self, histories: np.ndarray) -> np.ndarray:
        """Mean for each row of `histories`, (..., 4) bool -> (...)."""
        effect = np.array([self.effects.get(name, 0.0) for name in HISTORIES])
        return np.asarray(self.usual + (histories * effect).sum(axis=-1))

    def draw(self, rng: np.random.Generator, histories: np.ndarray) -> np.ndarray:
        """Draw one stored value for each row of `histories`."""
        value = self.means(histories) + self.spread * rng.standard_normal(histories.shape[:-1])
        value = np.exp(value) if self.log else value
        return np.clip(np.round(value / self.step) * self.step, self.low, self.high).round(3)

    def log_probability(self, values: np.ndarray) -> np.ndarray:
        """Log-probability of stored `values` (cases,) under each of STATES: (cases, 16); 0 where a value is NaN."""
        lower = np.where(values < self.low + self.step / 2, -np.inf, values - self.step / 2)
        upper = np.where(values > self.high - self.step / 2, np.inf, values + self.step / 2)
        if self.log:
            lower, upper = (np.log(np.maximum(edge, 1e-12)) for edge in (lower, upper))
        means = self.means(STATES)
        a, b = ((edge[:, None] - means) / self.spread for edge in (lower, upper))
        mirrored = a > 0  # in the upper tail the difference is taken where it does not cancel
        mass = np.where(mirrored, ndtr(-a) - ndtr(-b), ndtr(b) - ndtr(a))
        return np.where(np.isnan(values)[:, None], 0.0, np.log(np.maximum(mass, 1e-300)))


_SHORT_OF_BREATH = {"embolism_risk": -4.5, "infection": -1.0, "congestion": -1.0}
MEASURES = (
    Measure("temperature_c", "Cel", 0.1, 34.5, 41.5, 36.8, 0.55, {"infection": 1.25}, (36.1, 38.0)),
    Measure("spo2_percent", "%", 1, 70, 100, 96.6, 1.7, _SHORT_OF_BREATH, (94, 100)),
    Measure(
        "crp_mg_l", "mg/L", 1, 1, 500, np.log(6), 0.9, {"infection": 2.2, "malignancy_risk": 0.5}, (0, 5), log=True
    ),
    Measure(
        "white_cells_10e9_l", "10*9/L", 0.1, 0.5, 40, np.log(7.4), 0.27, {"infection": 0.52}, (4.5, 11.0), log=True
    ),
)
"""Every informative number of the record, in the order of cases.csv.

Usual ranges: temperature, what scores 0 in NEWS2 (Royal College of Physicians 2017); oxygen saturation, the British
Thoracic Society's guideline (O'Driscoll 2017); CRP, the consensus on CRM 470 (Dati 1996); white cells, the reference
values of the New England Journal of Medicine (Kratz 2004).
"""

COLUMNS = ("age", "sex", *(measure.name for measure in MEASURES))
"""Record columns of cases.csv."""


def draw_values(rng: np.random.Generator, histories: np.ndarray) -> np.ndarray:
    """Draw the measures of each case, gaps included: (cases, 4) bool -> (cases, measures), NaN where not taken."""
    values = np.stack([measure.draw(rng, histories) for measure in MEASURES], axis=-1)
    return np.where(rng.random(values.shape) < VALUE_GAP, np.nan, values)


def log_likelihood(values: np.ndarray) -> np.ndarray:
    """Log-likelihood of each of STATES given the measures: (cases, measures) -> (cases, 16)."""
    parts = (measure.log_probability(values[:, k]) for k, measure in enumerate(MEASURES))
    return np.asarray(np.sum(list(parts), axis=0))
