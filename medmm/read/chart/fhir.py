"""A folder of FHIR resources, R4 or R5, to the charts of a cohort's patients.

Bundles and single resources in .json, one resource a line in .ndjson (bulk export). fhir.resources checks each resource
that could count, by R5 and else by R4B; one that is neither costs itself, and that is said. What is known of it:

* Observation -> record columns, by the column's `code`; its components too (systolic and diastolic). The time is its
  effective[x], a period's end; without it the time of issue. A bound ('<5') counts as the limit that it names.
* DocumentReference and DiagnosticReport of FhirConfig.note_types -> texts, inline and in plain text or HTML. A report's
  conclusion and narrative are never read: they are the answer.
* Condition -> 'Known condition: ...', by the time at which it was recorded. Its onset does not count: what is found in
  a study had its onset before.
* Of several versions of a resource the newest counts, by meta; one that was entered in error takes back all before it.
* Patient -> age and gender, and whose all of it is: Patient.id or an identifier is the cohort's patient id. Where
  resources come from several servers, one id is another patient's on each.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, tzinfo
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from medmm.config import CohortConfig, NumberColumn, RecordColumn
from medmm.errors import CohortError, DataError
from medmm.read.chart.extract import Chart, Passage, Reading
from medmm.read.chart.note import MAX_BYTES as MAX_TEXT
from medmm.read.chart.note import read_text
from medmm.read.chart.sections import is_heading
from medmm.read.chart.times import read_time
from medmm.read.chart.units import UnitError, convert

MAX_FILE = 2**28
"""Bytes of a .json file; larger exports are .ndjson, where the limit is MAX_LINE."""
MAX_LINE = 2**24
"""Bytes of one line of an .ndjson file."""
MAX_HTML = 2**16
"""Letters of an HTML page: Python's parser takes time by the square of what is left open."""
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"

_MAX_COMMENTS = 100
_MAX_PIECES, _MAX_LABEL = 20, 80  # pieces between tags and letters of a heading
_SUFFIXES = frozenset({".json", ".ndjson", ".jsonl"})
_VOID = frozenset({"entered-in-error", "cancelled", "superseded", "deprecated"})
_KINDS = frozenset({"Observation", "DocumentReference", "DiagnosticReport", "Condition"})
_CHARSETS = frozenset({"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252"})
"""By the names that Python gives them."""
_ASIDE = frozenset({"script", "style", "title"})
_BOLD = frozenset({"b", "strong", "em", "u"})
_PHRASES = (
    "a abbr acronym bdi bdo big cite code data del dfn font i img ins kbd mark q s samp small span strike sub sup time "
    "tt var wbr"
)
_INLINE = _BOLD | frozenset(_PHRASES.split())
"""Tags that do not begin a line."""

Resource = dict[str, Any]
Key = tuple[str, str]
"""('id', logical id), ('url', full URL) or ('identifier', value) of a patient."""


@dataclass(frozen=True, slots=True)
class _Patient:
    """Who a Patient resource is about; another version or copy of it is about the same."""

    name: str
    """Its logical id, else its full URL."""
    birth: str
    gender: str
    server: str = ""
    """Whose Patient it is, where there are several servers: one id is another patient's on each."""


Version = tuple[datetime, int, bool]
"""When it was updated, its number, and whether it takes back what was said: by that order one is newer than another."""


@dataclass(slots=True)
class _Told:
    """What one version of a resource says."""

    version: Version
    key: Key = ("", "")
    """Of whom; of a Patient empty."""
    patient: _Patient | None = None
    names: tuple[Key, ...] = ()
    """By which others may name the Patient."""
    identifiers: frozenset[str] = frozenset()
    """Of the Patient."""
    readings: list[Reading] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Pile:
    """What the files hold, before it is known who is who."""

    told: dict[tuple[str, str, str], _Told] = field(default_factory=dict)
    """Server, kind and id of a resource -> its newest version. One without an id has a name that no other has."""
    patients: dict[_Patient, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Each with the values of its identifiers."""
    keys: dict[Key, set[_Patient]] = field(default_factory=lambda: defaultdict(set))
    readings: dict[Key, list[Reading]] = field(default_factory=lambda: defaultdict(list))
    passages: dict[Key, list[Passage]] = field(default_factory=lambda: defaultdict(list))
    troubles: dict[Key, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """What could not be read, in words, of a patient; of nobody in particular under ('', '')."""

    def put(self, server: str, kind: str, logical: str, told: _Told) -> None:
        """Keep what the newest version of a resource says; of two that do not say which is newer, the later one.

        An identifier that a Patient once had is still theirs.
        """
        name = (server, kind, logical or f"/{len(self.told)}")  # no id has a slash
        known = self.told.get(name, told)
        newest = told if told.version >= known.version else known
        newest.identifiers |= known.identifiers | told.identifiers
        self.told[name] = newest

    def gather(self) -> None:
        """Sort what the newest versions say by whom it is about."""
        for told in self.told.values():
            if told.patient is not None:
                self.patients[told.patient] |= told.identifiers
                for name in told.names:
                    self.keys[name].add(told.patient)
            if told.readings:
                self.readings[told.key] += told.readings
            if told.passages:
                self.passages[told.key] += told.passages
            if told.troubles:
                self.troubles[told.key] += told.troubles


def read_charts(
    folder: Path, patient_ids: Sequence[str], config: CohortConfig
) -> tuple[dict[str, Chart], tuple[str, ...]]:
    """Read all resources below a folder and sort out what belongs to whom.

    Args:
        folder: with .json and .ndjson files, at any depth.
        patient_ids: of the cohort.
        config: its `fhir`, and its record columns with a `code`.

    Returns:
        Patient id -> chart, for those of whom there is anything; and remarks on the files as a whole.

    Raises:
        CohortError: if the folder or a file cannot be used. It tells the number of the file, never its name.
    """
    if not folder.is_dir():
        raise CohortError("the folder of FHIR resources is not there", "Check 'folder' in [fhir] of cohort.toml")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    reader = _Reader(config)
    pile = _Pile()
    for number, path in enumerate(files, start=1):
        for resource, url in _resources(path, f"file {number} of {len(files)} of the FHIR resources", pile):
            reader.add(resource, url, pile)
    pile.gather()
    charts = _charts(_settled(pile), set(patient_ids))
    missing = len(set(patient_ids) - set(charts))
    remarks = [f"FHIR: {len(files)} files read; nothing in them for {missing} of {len(set(patient_ids))} patients"]
    remarks += [f"FHIR: {number} {what}" for what, number in pile.troubles[("", "")].items()]
    return charts, tuple(remarks)


def _resources(path: Path, where: str, pile: _Pile) -> Iterator[tuple[Resource, str]]:
    """Yield the resources of a file, each with its full URL in a bundle."""
    try:
        if path.suffix.lower() != ".json":
            yield from _lines(path, pile)
            return
        if path.stat().st_size > MAX_FILE:
            raise CohortError(f"{where} has more than {MAX_FILE >> 20} MiB", "Split it, or export it as .ndjson")
        content = _parse(path.read_bytes())
    except OSError as thrown:
        raise CohortError(f"{where} cannot be read ({type(thrown).__name__})", "Check its permissions") from None
    if content is None:
        raise CohortError(
            f"{where} is not a JSON object, or is nested too deeply",
            "Export it again, name it .ndjson if it has a resource a line, or take it out",
        )
    if content.get("resourceType") != "Bundle":
        yield content, ""
        return
    for entry in _list(content, "entry"):
        if isinstance(entry.get("resource"), dict):
            yield entry["resource"], _text(entry, "fullUrl")


def _lines(path: Path, pile: _Pile) -> Iterator[tuple[Resource, str]]:
    """Yield the resources of an .ndjson file; a line that is none costs itself."""
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE):
            whole = len(line) < MAX_LINE or line.endswith(b"\n")
            while not whole:
                whole = (rest := file.readline(MAX_LINE)) == b"" or rest.endswith(b"\n")
                line = b"x"  # too long to be a resource
            resource = _parse(line) if line.strip() else {}
            if resource is None:
                pile.troubles[("", "")]["lines left out: not a resource"] += 1
            elif resource:
                yield resource, ""


def _parse(content: bytes) -> Resource | None:
    """Return a JSON object; None if it is none."""
    try:
        found = json.loads(content.decode("utf-8-sig"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _no_number(name: str) -> float:
    """NaN and Infinity are not JSON."""
    raise ValueError(name)


class _Reader:
    """Takes from each resource what a cohort asks for."""

    def __init__(self, config: CohortConfig) -> None:
        fhir = config.fhir
        self.columns: dict[str, RecordColumn] = {name: column for name, column in config.record.items() if column.code}
        self.coded: dict[Key, list[str]] = defaultdict(list)
        for name, column in self.columns.items():
            self.coded[_code(column.code)].append(name)
        self.note_types = {_code(code) for code in fhir.note_types} if fhir else set()
        self.conditions = bool(fhir and fhir.conditions)
        self.zone = config.zone

    def add(self, resource: Resource, url: str, pile: _Pile) -> None:
        """Put what is wanted of one resource on the pile."""
        kind = _text(resource, "resourceType")
        said = self._patient(resource, url) if kind == "Patient" else self._told(kind, resource, url)
        if said is not None:
            pile.put(_server(url, kind), kind, _text(resource, "id"), said)

    def _told(self, kind: str, resource: Resource, url: str) -> _Told | None:
        """What a resource says that is no Patient; None if it could not count."""
        if kind not in _KINDS:
            return None
        void = not _VOID.isdisjoint({_text(resource, "status"), _text(resource, "docStatus")})
        said = _Told(_version(resource, self.zone, void=void), _subject(resource, url))
        if void:
            return said
        if not self._is_wanted(kind, resource):
            return None
        if not _is_valid(kind, resource):
            said.troubles[f"{kind} resources left out: neither valid R4 nor valid R5"] += 1
        elif kind == "Observation":
            said.readings += self._readings(resource)
        elif kind == "Condition":
            said.passages += _condition(resource, self.zone)
        else:
            said.passages += _document(kind, resource, self.zone, said.troubles)
        return said

    def _patient(self, resource: Resource, url: str) -> _Told:
        """Who a Patient is."""
        said = _Told(_version(resource, self.zone))
        if not _is_valid("Patient", resource):
            said.troubles["Patient resources left out: neither valid R4 nor valid R5"] += 1
            return said
        logical = _text(resource, "id")
        born, gender = _text(resource, "birthDate"), _text(resource, "gender")
        said.patient = _Patient(logical or url, born, gender, _server(url, "Patient"))
        said.names = tuple(key for key in (("id", logical), ("url", url)) if key[1])
        said.identifiers = frozenset(_text(one, "value").strip() for one in _list(resource, "identifier"))
        return said

    def _is_wanted(self, kind: str, resource: Resource) -> bool:
        """Whether a resource could count; looks at its codes only, since checking all of it costs 0.1 ms."""
        if kind == "Condition":
            return self.conditions
        if kind == "Observation":
            parts = [resource, *_list(resource, "component")]
            return any(code in self.coded for part in parts for code in _codes(part.get("code")))
        concept = resource.get("type" if kind == "DocumentReference" else "code")
        return not self.note_types.isdisjoint(_codes(concept))

    def _readings(self, resource: Resource) -> Iterator[Reading]:
        """Yield what an Observation says of columns; one about something else than its patient says nothing."""
        if resource.get("focus"):
            return
        issued = read_time(_text(resource, "issued"), self.zone)
        taken = _effective(resource, self.zone) or issued
        for part in [resource, *_list(resource, "component")]:
            for name in dict.fromkeys(name for code in _codes(part.get("code")) for name in self.coded.get(code, ())):
                column = self.columns[name]
                if isinstance(column, NumberColumn):
                    reading = _number(name, column, part, taken, issued)
                else:
                    reading = _words(name, part, taken, issued)
                if reading is not None:
                    yield reading


def _number(
    name: str, column: NumberColumn, part: Resource, taken: datetime | None, issued: datetime | None
) -> Reading | None:
    """Return the number of an Observation or a component in the unit of its column; None if it has no value."""
    quantity = _dict(part, "valueQuantity")
    value = quantity.get("value", part.get("valueInteger"))
    if value is None:
        other = any(key.startswith("value") for key in part) and not quantity
        return Reading(name, taken, problem="has a value that is not a number", issued=issued) if other else None
    try:
        number = convert(float(value), _unit(quantity, column.unit), column.unit)
    except (UnitError, OverflowError):
        problem = f"has a unit that cannot be converted to '{column.unit}'"
        return Reading(name, taken, problem=problem, issued=issued)
    comparator = _text(quantity, "comparator")
    if comparator == "ad":  # 'sufficient to achieve this quantity': no value that was measured
        return None
    remark = f"a bound ({comparator}) counts as the limit that it names" if comparator else ""
    return Reading(name, taken, number, remark=remark, issued=issued)


def _unit(quantity: Resource, wanted: str) -> str:
    """Return the UCUM unit of a quantity. One that is not said to be UCUM must be the column's, letter by letter."""
    code = _text(quantity, "code")
    if code and _text(quantity, "system") == UCUM:
        return code
    if wanted in (code, _text(quantity, "unit")):
        return wanted
    if not code and not _text(quantity, "unit") and (wanted in ("", "1") or wanted[0] + wanted[-1] == "{}"):
        return wanted
    raise UnitError("is not UCUM")


def _words(name: str, part: Resource, taken: datetime | None, issued: datetime | None) -> Reading | None:
    """Return what the value of an Observation or a component is called; None if it has none."""
    concept = _dict(part, "valueCodeableConcept")
    words = [_text(coding, key) for coding in _list(concept, "coding") for key in ("code", "display")]
    words += [_text(concept, "text"), _text(part, "valueString")]
    truth = part.get("valueBoolean")
    if truth is not None:
        words += ["true", "yes", "1"] if truth else ["false", "no", "0"]
    for value in (part.get("valueInteger"), _dict(part, "valueQuantity").get("value")):
        words += [f"{value:.15g}"] if isinstance(value, int | float) else []
    stated = tuple(word.strip() for word in words if word.strip())
    return Reading(name, taken, words=stated, issued=issued) if stated else None


def _effective(resource: Resource, zone: tzinfo | None) -> datetime | None:
    """Return the latest moment that effective[x] allows."""
    period = _dict(resource, "effectivePeriod")
    text = _text(resource, "effectiveDateTime") or _text(resource, "effectiveInstant") or _text(period, "end")
    return read_time(text, zone)


def _condition(resource: Resource, zone: tzinfo | None) -> Iterator[Passage]:
    """Yield a condition that is confirmed, or of which nothing else is said."""
    status = {code for _, code in _codes(resource.get("verificationStatus"))}
    concept = _dict(resource, "code")
    names = [_text(concept, "text"), *(_text(coding, "display") for coding in _list(concept, "coding"))]
    name = " ".join(next((name for name in names if name.strip()), "").split())
    if name and status <= {"confirmed"}:
        text = read_text("", f"Known condition: {name}")
        yield Passage("condition", text, read_time(_text(resource, "recordedDate"), zone))


def _document(kind: str, resource: Resource, zone: tzinfo | None, troubles: Counter[str]) -> Iterator[Passage]:
    """Yield the text of a document or report: the first of its forms that can be read, plain text first."""
    what, key = ("note", "content") if kind == "DocumentReference" else ("report", "presentedForm")
    forms = _list(resource, key)
    forms = [_dict(form, "attachment") for form in forms] if what == "note" else forms
    why = "not inline, or neither plain text nor HTML"
    for form in sorted(forms, key=lambda form: not _text(form, "contentType").startswith("text/plain")):
        text = _attachment(form)
        if text:
            yield Passage(what, text, _written(resource, form, zone))
            return
        why = "there is no text in them" if text == "" else why
    if forms:
        troubles[f"{what}s left out: {why}"] += 1


def _written(resource: Resource, form: Resource, zone: tzinfo | None) -> datetime | None:
    """Return the latest moment at which a text can have been written; None if that is not known.

    A report is written after what it reports: without a time of issue, that day is counted to its end.
    """
    stated = [_text(resource, "date"), _text(resource, "issued"), _text(form, "creation")]
    times = [read_time(text, zone) for text in stated if text]
    if None in times:
        return None
    effective = _effective(resource, zone)
    if effective is not None:
        times.append(effective if times else datetime.combine(effective.date(), time.max))
    return max((moment for moment in times if moment), default=None)


def _attachment(form: Resource) -> str | None:
    """Return the text of an inline attachment; None if it cannot be read."""
    said = Message()
    said["Content-Type"] = " ".join(_text(form, "contentType").split())
    media, charset = said.get_content_type(), _charset(said.get_content_charset("utf-8"))
    data = "".join(_text(form, "data").split())
    is_text = media in ("text/plain", "text/html", "text/markdown") and bool(_text(form, "contentType").strip())
    if not data or not is_text or charset not in _CHARSETS or len(data) > MAX_TEXT * 4 // 3 + 4:
        return None
    try:
        text = base64.b64decode(data, validate=True).decode(charset)
        if media == "text/html":
            if len(text) > MAX_HTML or text.count("<!--") > _MAX_COMMENTS:
                return None
            text = _without_tags(text)
        return read_text("", text)
    except (binascii.Error, UnicodeDecodeError, DataError):
        return None


def _charset(name: str) -> str:
    """A character set by the name that Python gives it; '' if it knows none of this name."""
    try:
        return codecs.lookup(name).name
    except LookupError:
        return ""


class _Words(HTMLParser):
    """Gathers the words of a page, a line for each block."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = ["\n"]
        self.aside = 0
        self.bold: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A block begins a line; what is not shown is not read."""
        self.aside += tag in _ASIDE
        self.words += [] if tag in _INLINE else ["\n"]
        self.bold += [len(self.words)] if tag in _BOLD else []

    def handle_endtag(self, tag: str) -> None:
        """A block ends a line; a heading in bold stands in a line of its own."""
        self.aside -= tag in _ASIDE and self.aside > 0
        self.words += [] if tag in _INLINE else ["\n"]
        begin = self.bold.pop() if tag in _BOLD and self.bold else 0
        if begin and len(self.words) - begin < _MAX_PIECES:
            label = "".join(self.words[begin:]).strip()
            begins = "".join(self.words[max(0, begin - 2) : begin]).rstrip(" ").endswith("\n")
            if (begins or label[:1].isupper()) and len(label) <= _MAX_LABEL and is_heading(label):
                self.words[begin:] = ["\n", label, "\n"]

    def handle_data(self, data: str) -> None:
        """Words; a line end in the source is a space."""
        if not self.aside:
            self.words.append(" ".join(data.replace("\n", " ").split(" ")))


def _without_tags(page: str) -> str:
    """Return the text of an HTML page."""
    words = _Words()
    words.feed(page)
    words.close()
    lines = (" ".join(line.split()) for line in "".join(words.words).split("\n"))
    return "\n".join(line for line in lines if line)


def _version(resource: Resource, zone: tzinfo | None, *, void: bool = False) -> Version:
    """Which version of itself a resource is (R5 2.1.5.0.1, meta)."""
    meta = _dict(resource, "meta")
    number = _text(meta, "versionId")
    return read_time(_text(meta, "lastUpdated"), zone) or datetime.min, int(number) if number.isdecimal() else 0, void


def _settled(pile: _Pile) -> _Pile:
    """Return a pile in which every patient that is spoken of is one of its patients, by one key.

    Where all is from one server, or none is named, its address says nothing. A reference to a Patient that is not there
    is to a patient of that id.
    """
    told = (*pile.readings, *pile.passages, *pile.troubles)
    if len({_server(key[1], "Patient") for key in (*pile.keys, *told)} - {""}) <= 1:
        pile = _on_one_server(pile)
    for key in (*pile.readings, *pile.passages, *pile.troubles):
        server = _server(key[1], "Patient")
        if key not in pile.keys and (key[0] == "id" or server):
            patient = _Patient(key[1].rpartition("/")[2], "", "", server)
            pile.keys[key].add(patient)
            pile.patients[patient] = set()
    return pile


def _on_one_server(pile: _Pile) -> _Pile:
    """Return a pile with logical ids instead of addresses."""
    settled = _Pile()
    for patient, identifiers in pile.patients.items():
        settled.patients[replace(patient, server="")] |= identifiers
    for key, patients in pile.keys.items():
        settled.keys[_logical(key)] |= {replace(patient, server="") for patient in patients}
    for key, readings in pile.readings.items():
        settled.readings[_logical(key)] += readings
    for key, passages in pile.passages.items():
        settled.passages[_logical(key)] += passages
    for key, troubles in pile.troubles.items():
        settled.troubles[_logical(key)].update(troubles)
    return settled


def _logical(key: Key) -> Key:
    """Return the key of a Patient on a server without the server."""
    return ("id", key[1].rpartition("/")[2]) if key[0] == "url" and _server(key[1], "Patient") else key


def _server(url: str, kind: str) -> str:
    """Return the server in the address of a resource, 'https://a.org/fhir/Patient/1'; '' if it has another form."""
    server, between, logical = url.rpartition(f"/{kind}/")
    return server if between and logical and "://" in server else ""


def _charts(pile: _Pile, wanted: set[str]) -> dict[str, Chart]:
    """Sort out what belongs to whom. Where two Patients could be one id's, or one Patient two ids', nothing is used."""
    owners = {patient: ({patient.name} | identifiers) & wanted for patient, identifiers in pile.patients.items()}
    claims: dict[str, list[_Patient]] = defaultdict(list)
    keys: dict[str, set[Key]] = {patient_id: {("identifier", patient_id)} for patient_id in wanted}
    for patient, ids in owners.items():
        for patient_id in ids:
            claims[patient_id].append(patient)
    told = {*pile.readings, *pile.passages, *pile.troubles}
    shared: set[str] = set()
    for key, patients in pile.keys.items():
        ids = set[str]().union(*(owners[patient] for patient in patients))
        shared |= ids if len(ids) > 1 and key in told else set()
        for patient_id in ids:
            keys[patient_id].add(key)
    charts: dict[str, Chart] = {}
    for patient_id in wanted:
        patients_there = claims[patient_id]
        several = len(patients_there) > 1 or any(len(owners[patient]) > 1 for patient in patients_there)
        if several or patient_id in shared:
            charts[patient_id] = Chart(remarks=("FHIR: not used, since several patients go by this id",))
            continue
        chart = _chart(pile, keys[patient_id], patients_there[0] if patients_there else None)
        if chart != Chart():
            charts[patient_id] = chart
    return charts


def _chart(pile: _Pile, keys: set[Key], patient: _Patient | None) -> Chart:
    """Gather one patient's chart."""
    troubles: Counter[str] = Counter()
    for key in keys:
        troubles.update(pile.troubles.get(key, {}))
    birth = patient.birth if patient and len(patient.birth) == len("2024-05-31") else ""
    return Chart(
        readings=tuple(reading for key in sorted(keys) for reading in pile.readings.get(key, ())),
        passages=tuple(dict.fromkeys(passage for key in sorted(keys) for passage in pile.passages.get(key, ()))),
        birth=date.fromisoformat(birth) if birth else None,
        gender=patient.gender if patient else "",
        remarks=tuple(f"FHIR: {number} {what}" for what, number in troubles.items()),
    )


def _subject(resource: Resource, url: str) -> Key:
    """Return by what a resource at an address names its patient; ('', '') if it names none, or somebody else."""
    subject = _dict(resource, "subject")
    reference = _text(subject, "reference").partition("/_history/")[0]
    kind, _, logical = reference.rpartition("/")
    if logical and kind == "Patient":
        server = _server(url, _text(resource, "resourceType"))
        return ("url", f"{server}/{reference}") if server else ("id", logical)
    if reference.startswith("urn:") or _server(reference, "Patient"):
        return "url", reference
    identifier = _text(_dict(subject, "identifier"), "value").strip()
    return ("identifier", identifier) if identifier and not reference else ("", "")


def _is_valid(kind: str, resource: Resource) -> bool:
    """Whether a resource is valid R5 or else R4B, which reads R4."""
    from fhir.resources import get_fhir_model_class
    from fhir.resources.R4B import get_fhir_model_class as get_r4b_model_class

    for model in (get_fhir_model_class(kind), get_r4b_model_class(kind)):
        try:
            model.model_validate(resource)
        except Exception:  # noqa: S112  # pydantic's, and what fhir.resources' own checks trip over
            continue
        return True
    return False


def _code(code: str) -> Key:
    """'system|code', or a LOINC code alone."""
    system, _, rest = code.rpartition("|")
    return system or LOINC, rest


def _codes(concept: Any) -> set[Key]:
    """Return system and code of each coding of a CodeableConcept."""
    codings = _list(concept, "coding") if isinstance(concept, dict) else []
    return {(_text(coding, "system"), _text(coding, "code")) for coding in codings}


def _text(value: Mapping[str, Any], key: str) -> str:
    """Return a string of a resource that may not be valid; '' if there is none."""
    found = value.get(key)
    return found if isinstance(found, str) else ""


def _dict(value: Mapping[str, Any], key: str) -> Resource:
    """Return an object of a resource that may not be valid; empty if there is none."""
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _list(value: Mapping[str, Any], key: str) -> list[Resource]:
    """Return the objects of a list of a resource that may not be valid."""
    found = value.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
