"""The dials: two frozen pydantic models, each read from one TOML; a key that they do not know is refused.

cohort.toml says what the columns of a cohort are (CohortConfig); run.toml says how to train (RunConfig).
"""

import difflib
import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from medmm.case import MODALITIES
from medmm.errors import ConfigError

Modality = Literal["image", "note", "record"]
Flips = Literal["none", "horizontal", "both"]
"""Which mirrorings leave an image as likely as it was; with both, quarter turns do so too."""
Config = TypeVar("Config", bound="Dials")


class Dials(BaseModel):
    """A frozen group of settings that refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NumberColumn(Dials):
    """A record column that holds numbers."""

    unit: str
    """Unit of every value in the column, as UCUM writes it where it can: 'a', 'Cel', '%', 'mg/L'."""
    low: float | None = None
    """Values below are refused, not clipped; None for no bound."""
    high: float | None = None
    """Values above are refused, not clipped; None for no bound."""
    usual: tuple[float, float] | None = Field(None, exclude_if=lambda usual: usual is None)
    """Least and greatest value that are usual, such as a laboratory's reference interval. A value outside is marked for
    people, and means nothing else to the model. None, and not written out, if nobody states them."""
    taken: str = ""
    """Column with the time at which the value was taken (ISO 8601); a value later than the study is left out."""
    code: str = ""
    """For records from FHIR: the code of its Observation, 'system|code', or the LOINC code alone; or 'Patient.age'."""

    @field_validator("usual")
    @classmethod
    def _is_range(cls, usual: tuple[float, float] | None) -> tuple[float, float] | None:
        if usual is not None and not -math.inf < usual[0] < usual[1] < math.inf:
            raise ValueError("is no range: give a number and a greater one")
        return usual


class CategoryColumn(Dials):
    """A record column that holds one of a few words."""

    categories: tuple[str, ...] = Field(min_length=2)
    taken: str = ""
    """As NumberColumn.taken."""
    code: str = ""
    """As NumberColumn.code; or 'Patient.gender'."""


def _kind_of_column(value: object) -> str:
    """Tell a record column of words from one of numbers, so that a complaint is about the right one."""
    words = isinstance(value, CategoryColumn) or (isinstance(value, dict) and "categories" in value)
    return _KINDS[words]


_KINDS = ("NumberColumn", "CategoryColumn")
RecordColumn = Annotated[
    Annotated[NumberColumn, Tag(_KINDS[0])] | Annotated[CategoryColumn, Tag(_KINDS[1])], Discriminator(_kind_of_column)
]


class LabelColumns(Dials):
    """Where the answers are: either several columns of 1, 0 or empty, or one column that names a class."""

    columns: tuple[str, ...] = ()
    """Multi-label: one column a label; 1 present, 0 absent, empty not stated."""
    class_column: str = ""
    """Multi-class: the column whose value names the class; empty not stated."""
    classes: tuple[str, ...] = ()
    """Multi-class: every class, in the order in which they are shown."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.columns) == bool(self.class_column):
            raise ValueError("give either 'columns' (multi-label) or 'class_column' with 'classes' (multi-class)")
        if self.class_column and len(self.classes) < 2:
            raise ValueError("'class_column' needs 'classes', at least two")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The labels of the model, in order."""
        return self.columns or self.classes

    @property
    def multi_class(self) -> bool:
        """True if exactly one label holds for a case."""
        return bool(self.class_column)


class ImageRule(Dials):
    """Which series and films of a study are read: all that is stated must hold. A study's image needs one such rule."""

    modality: tuple[str, ...] = ()
    """Modality (0008,0060), any of these: ['CR', 'DX']; empty for any."""
    description: str = ""
    """Regular expression, found anywhere in Series Description (0008,103E), capitals ignored; empty for any."""
    view: tuple[str, ...] = ()
    """View Position (0018,5101), any of these: ['PA', 'AP']; empty for any."""
    at_most: int | None = Field(None, ge=1)
    """How many films or volumes the rule takes, in the order of series and instance; None for all that match."""
    window: tuple[float, float] | None = None
    """Centre and width in which a volume is shown to the model and to people, instead of the file's own."""

    @field_validator("description")
    @classmethod
    def _is_pattern(cls, description: str) -> str:
        try:
            re.compile(description)
        except re.error as problem:
            raise ValueError(f"is no regular expression: {problem}") from None
        return description

    @field_validator("window")
    @classmethod
    def _is_wide(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        if window and not window[1] > 0:
            raise ValueError("has a width that is not above 0")
        return window


ANSWER_SECTIONS = ("findings", "impression", "conclusion", "diagnosis", "assessment", "interpretation")
"""Sections of a note that state the answer, by the name that read.chart.sections gives them in every language."""


class FhirConfig(Dials):
    """Notes and record values from FHIR resources, R4 or R5: JSON bundles or NDJSON files, found by patient."""

    folder: str = "fhir"
    """Below the cohort's folder. Patient.id or an identifier of it is the cohort's patient id."""
    note_types: tuple[str, ...] = ()
    """Codes of DocumentReference.type and DiagnosticReport.code that are notes, 'system|code' or the LOINC code
    alone; empty for none. A report on the study itself states the answer."""
    conditions: bool = False
    """Whether conditions that were known before the study stand in the note, a line each."""


class CohortConfig(Dials):
    """cohort.toml: what the columns of cases.csv are. A column that it does not name is never an input."""

    labels: LabelColumns | None = None
    """None for a folder that is only scored."""
    case_id: str = "case_id"
    patient_id: str = "patient_id"
    study: str = "study"
    """Column with the study's path, relative to the cohort's folder; a cell may be empty."""
    note: str = "note"
    """Column with the note's text, or with the path of a .txt file below the cohort's folder; a cell may be empty."""
    prior: str = ""
    """Column with the path of an earlier study of the same patient; a cell may be empty."""
    time: str = ""
    """Column with the time of the study (ISO 8601), where its own header does not say or must not be used."""
    timezone: str = ""
    """Time zone of the hospital's clock, as 'Europe/Vienna', by which times with an offset from UTC, in the table and
    in FHIR resources, are brought to it; without it such a time is known to its day only."""
    sections_left_out: tuple[str, ...] = ANSWER_SECTIONS
    """Sections of a note that are not read."""
    images: tuple[ImageRule, ...] = ()
    """Which images of a study are read; all of them without a rule."""
    record: dict[str, RecordColumn] = {}
    fhir: FhirConfig | None = None

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, name: str) -> str:
        if name and name not in available_timezones():
            raise ValueError("is no time zone: write it as 'Europe/Vienna'")
        return name

    @property
    def zone(self) -> ZoneInfo | None:
        """The time zone of the hospital's clock, if it is stated."""
        return ZoneInfo(self.timezone) if self.timezone else None


class EncoderConfig(Dials):
    """Which networks turn pixels and words into features. They are frozen."""

    image: str = "embedded:efficientnet-lite0"
    """embedded:efficientnet-lite0 (from pip), embedded:efficientnet-lite2 (1.4 times the time), both side by side as
    embedded:efficientnet-lite0+lite2 (2.6 times), torchvision:NAME, or a folder that `medmm pretrain` wrote."""
    image_weights: str = ""
    """For torchvision: a .safetensors or .pth state dict, or a torchvision weights name (which downloads it)."""
    image_size: int = Field(224, ge=32, le=2048)
    """Side in pixels of the square that an image is fitted into, its shape kept."""
    image_flips: Literal["auto", "none", "horizontal", "both"] = "auto"
    """Which mirrorings leave an image as likely as it was: it is read in all of them. With both, in quarter turns too.
    auto: both for photographs in colour, which have no up, and none for all that is grey."""
    volume: str = "slices"
    """slices: a volume goes slice by slice through the image encoder; or monai:NAME, a network for volumes."""
    volume_weights: str = ""
    """For monai: a .safetensors or .pth state dict."""
    volume_slices: int = Field(16, ge=1, le=512)
    """At most so many slices of a volume, evenly spread, go through the image encoder."""
    volume_size: int = Field(96, ge=32, le=512)
    """For monai: side in voxels of the cube that a volume is fitted into, its shape in millimetres kept."""
    text: str = "embedded:minilm"
    """embedded:minilm (from pip), a folder with a Hugging Face BERT (`medmm pretrain` writes one), or a hub id (which
    downloads it)."""
    max_words: int = Field(256, ge=8, le=512)
    """Longest piece of a note that the encoder reads at once, in word pieces; a longer note is read in pieces."""


class FusionConfig(Dials):
    """How what was seen, written and measured become one answer."""

    kind: Literal["concat", "weighted_sum", "product", "gated", "cross_attention"] = "cross_attention"
    """The rule that makes one answer of all sides, see medmm/model/fusion.py; concat is the textbook baseline: BERT's
    CLS, pooled image features and the record in one linear layer."""
    modalities: tuple[Modality, ...] = MODALITIES  # type: ignore[assignment]  # the same three words
    width: int = Field(128, ge=16, multiple_of=8)
    heads: int = Field(4, ge=1)
    blocks: int = Field(1, ge=1, le=6)
    dropout: float = Field(0.3, ge=0, lt=1)
    modality_dropout: float = Field(0.25, ge=0, lt=1)
    """Chance that a present modality is hidden from what is learnt by gradient during training."""


class TrainingConfig(Dials):
    """How long and how hard to learn."""

    seed: int = 0
    folds: int = Field(5, ge=2, le=20)
    """Folds by patient in which each modality's head is trained, so that fusion sees only held-out answers."""
    epochs: int = Field(30, ge=1)
    patience: int = Field(5, ge=1)
    """Epochs without a better held-out loss before a stage stops."""
    batch_size: int = Field(64, ge=1)
    """Cases a step, of all processes together."""
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the forward pass while learning (mixed precision); weights, and everything after learning, are float32."""
    tracker: Literal["none", "tensorboard", "mlflow"] = "none"
    """Who else is told of the losses of every epoch and of the final figures; the library must be installed."""


class SplitConfig(Dials):
    """Shares of the patients; what is left trains."""

    folds: int | None = Field(None, ge=2, le=20)
    """K-fold: so many models, each tested on patients that it never saw, and a last one that learns from everybody.
    Left out: one hold-out, tested on a share of the patients."""
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Of all patients, or with folds of those that a fold does not test."""
    test: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Of all patients; with folds every patient is tested once, and this is not used."""


class AdaptConfig(Dials):
    """Whether the networks for pixels and words are taught the cohort, and how."""

    image: Literal["frozen", "last_blocks", "lora"] = "frozen"
    """last_blocks trains the image network's last blocks, lora low-rank adapters of them (Hu 2021)."""
    note: Literal["frozen", "last_blocks", "lora"] = "frozen"
    """As `image`, for the upper layers of the text network."""
    folds: int = Field(3, ge=2, le=10)
    """Copies that are taught, each without one fold of the training patients; what sees them is the one without."""
    views: int = Field(5, ge=1, le=64)
    """Augmented views of each image that are encoded once and cached; an epoch sees one of them."""
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    """Reached evenly over the first epoch; from there it falls to 0 as a cosine."""
    in_company: bool = False
    """Teach a copy what the other sides leave open, instead of the answers from its own side alone: for labels that
    need two sides at once, such as a finding and a history."""
    checkpointing: bool = False
    """Compute again on the way back what lies between layers: less memory, more time."""


class DecisionConfig(Dials):
    """Where a label is flagged, and when nothing is said of it; both chosen on validation patients."""

    aim: Literal["youden", "sensitivity", "net_benefit"] = "youden"
    """What the threshold is for: youden, sensitivity + specificity at their highest; sensitivity, at least that of
    `sensitivity`; net_benefit, the probability `risk`."""
    sensitivity: float = Field(0.95, gt=0, lt=1)
    """For that aim: share of the cases with the label that is flagged, at least."""
    risk: float = Field(0.1, gt=0, lt=1)
    """For net_benefit: the probability at which a miss and the false alarms that avoid it weigh the same (Vickers
    2006)."""
    error: float = Field(0.1, gt=0, lt=0.5)
    """Promised for each answer of each label: so many at most are called the opposite; where that cannot be kept the
    call is 'uncertain'."""


class RunConfig(Dials):
    """run.toml: everything about a training run that is not the cohort."""

    encoders: EncoderConfig = EncoderConfig()
    adapt: AdaptConfig = AdaptConfig()
    fusion: FusionConfig = FusionConfig()
    training: TrainingConfig = TrainingConfig()
    split: SplitConfig = SplitConfig()
    decision: DecisionConfig = DecisionConfig()


def read_toml(path: Path, kind: type[Config]) -> Config:
    """Read `path` into `kind`.

    Raises:
        ConfigError: if the file is missing, is not TOML, or holds a key or a value that `kind` refuses.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there", "Check the path") from None
    except OSError as problem:
        raise ConfigError(f"{path} cannot be read ({type(problem).__name__})", "Check its permissions") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path} is not TOML: {problem}", "Correct the file") from None
    try:
        return kind.model_validate(content)
    except ValidationError as problem:
        raise _explain(path, kind, problem) from None


def _explain(path: Path, kind: type[Dials], problem: ValidationError) -> ConfigError:
    """Turn one complaint of pydantic into one line with a remedy; a misspelt key first, since it explains the rest."""
    complaints = problem.errors(include_url=False)
    first = next((found for found in complaints if found["type"] == "extra_forbidden"), complaints[0])
    *group, key = [str(part) for part in first["loc"] if part not in _KINDS] or [""]
    where = f" in [{'.'.join(group)}]" if group else ""
    if first["type"] == "extra_forbidden":
        known = _fields(kind, group)
        near = difflib.get_close_matches(key, known, n=1)
        remedy = f"Did you mean '{near[0]}'?" if near else f"Known here: {', '.join(known)}"
        return ConfigError(f"{path.name}: unknown key '{key}'{where}", remedy)
    return ConfigError(
        f"{path.name}: '{key}'{where}: {first['msg'].removeprefix('Value error, ')}", "Correct the value"
    )


def _fields(kind: type[Dials], group: list[str]) -> list[str]:
    """Names of the keys that may stand in `group` of `kind`."""
    kinds = [kind]
    for name in group:
        fields = [one.model_fields[name] for one in kinds if name in one.model_fields]
        kinds = [inner for field in fields for inner in _dials(field.annotation)] or kinds  # a column's name: as before
    return sorted({name for one in kinds for name in one.model_fields})


def _dials(annotation: Any) -> Iterator[type[Dials]]:
    """Every group of settings that a field's type speaks of: LabelColumns of `LabelColumns | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Dials):
        yield annotation
    for part in get_args(annotation):
        yield from _dials(part)
