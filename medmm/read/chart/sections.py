"""A note into its sections, by their headings, so that those that state the answer can be left out.

A heading stands at the start of a line, after a number or a time: with a colon ('Findings:', '**BEFUND:**', '2.
Impression:'), with a dash or another sign, in brackets, in capitals, or alone; or inside a line, with a colon, in
capitals, with a capital among small letters or after the end of a part of a sentence. In doubt the answer is kept out:
a section that is left out lasts until a heading of the history, the medication, the allergies or the vital signs.
'HEART:' is no such heading, nor is a 'Comparison:' among the findings. Words that head honest text as often, as
'Summary:' or 'Plan:', count only in a text that has a heading of a report beside them.

What has no heading is not found: a report that states its findings right under 'COMPARISON:' is taken for a comparison.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

_HEADINGS: dict[str, str] = {
    # They state the answer.
    "findings": (
        "findings|finding|observations|description of findings|imaging findings|report|results|result|addendum|"
        "addenda|narrative|body of report|befund|befunde|befundbericht|bericht|ergebnis|ergebnisse|nachtrag|"
        "resultat|resultats|constatations|description|compte rendu|hallazgos|hallazgo|resultados|resultado|"
        "informe|descripcion|reperti|reperto|referto|risultati|risultato|esito|descrizione|achados|achado|laudo|"
        "relatorio|descricao|bevindingen|bevinding|verslag|resultaat|resultaten|beschrijving|wet read|"
        "preliminary read|initial read|final read|radiologist read|overread|radiographic appearance|"
        "radiographic appearances|radiological appearances"
    ),
    "impression": (
        "impression|impressions|imp|summary|opinion|comment|comments|bottom line|eindruck|eindrucke|"
        "zusammenfassung|kommentar|synthese|au total|en resume|commentaire|commentaires|impresion|impresiones|"
        "resumen|comentario|comentarios|impressione|sintesi|riassunto|commento|impressao|resumo|sumario|indruk|"
        "samenvatting|commentaar|opiniao|epikrise|zusammenfassend"
    ),
    "conclusion": (
        "conclusion|conclusions|schlussfolgerung|fazit|conclusie|besluit|conclusiones|conclusione|conclusioni|"
        "conclusao|conclusoes"
    ),
    "diagnosis": (
        "diagnosis|diagnoses|dx|ddx|differential|diagnose|diagnosen|diagnostic|diagnostics|diagnostico|"
        "diagnosticos|diagnosi|differentialdiagnose|differentialdiagnosen|differentiaaldiagnose|"
        "diagnostic differentiel|"
        "juicio diagnostico|hipotesis diagnostica|hypothese diagnostique|ipotesi diagnostica|"
        "hipotese diagnostica|hipoteses diagnosticas"
    ),
    "assessment": (
        "assessment|assessments|a/p|a&p|a & p|plan|recommendation|recommendations|assessment plan|beurteilung|"
        "bewertung|einschatzung|procedere|empfehlung|empfehlungen|evaluation|appreciation|conduite a tenir|"
        "recommandation|recommandations|valoracion|evaluacion|"
        "juicio clinico|recomendacion|recomendaciones|valutazione|giudizio|"
        "raccomandazioni|avaliacao|parecer|recomendacao|recomendacoes|beoordeling|advies|aanbeveling|"
        "aanbevelingen"
    ),
    "interpretation": "interpretation|interpretations|interpretacion|interpretazione|interpretacao|interpretatie",
    # They were known before.
    "history": (
        "known diagnoses|known diagnosis|previous diagnoses|prior diagnoses|past diagnoses|vordiagnose|vordiagnosen|"
        "altdiagnosen|dauerdiagnosen|"
        "bekannte diagnosen|vorerkrankungen|diagnostics connus|diagnosticos previos|diagnosi note|"
        "bekende diagnosen|prior findings|previous findings|history|clinical history|medical history|"
        "past medical history|past history|history of present illness|hpi|pmh|indication|indications|"
        "clinical indication|indication for exam|indication for examination|reason for exam|"
        "reason for examination|reason for study|reason for this examination|reason for visit|"
        "clinical information|clinical data|clinical details|clinical question|clinical notes|chief complaint|"
        "complaint|presenting complaint|symptoms|anamnesis|social history|family history|surgical history|"
        "fragestellung|klinische angaben|klinische angabe|klinische fragestellung|klinische information|"
        "indikation|rechtfertigende indikation|anamnese|vorgeschichte|klinik|klinische daten|eigenanamnese|"
        "familienanamnese|indication clinique|renseignements cliniques|renseignement clinique|antecedents|"
        "histoire de la maladie|motif|motif d examen|motif de l examen|contexte|contexte clinique|"
        "histoire clinique|indicacion|indicaciones|historia clinica|datos clinicos|informacion clinica|motivo|"
        "motivo de consulta|motivo del estudio|antecedentes|enfermedad actual|indicazione|indicazioni|"
        "quesito clinico|quesito diagnostico|anamnesi|notizie cliniche|dati clinici|motivo dell esame|"
        "storia clinica|indicacao|indicacoes|indicacao clinica|dados clinicos|informacao clinica|"
        "informacoes clinicas|historico|motivo do exame|indicatie|klinische gegevens|voorgeschiedenis|"
        "vraagstelling|reden van onderzoek|klinische vraagstelling"
    ),
    "comparison": (
        "comparison|comparisons|comparison studies|comparison study|prior studies|prior study|vergleich|"
        "voruntersuchung|voruntersuchungen|voraufnahmen|vorbefund|vorbefunde|altbefund|altbefunde|comparaison|comparatif|comparacion|comparativa|"
        "estudios previos|confronto|precedenti|comparacao|exames anteriores|vergelijking|vorig onderzoek"
    ),
    "technique": (
        "technique|techniques|protocol|procedure|technik|untersuchungstechnik|methode|methodik|"
        "protocole|tecnica|tecnica de exploracion|protocolo|metodo|protocollo|techniek"
    ),
    "examination": (
        "physical exam|physical examination|korperliche untersuchung|exam|examination|study|exam type|"
        "untersuchung|untersuchungsart|examen|type d examen|exploracion|estudio|esame|tipo di esame|exame|"
        "onderzoek"
    ),
    "medication": (
        "medication|medications|current medications|drugs|medikation|medikamente|medicaments|traitement|"
        "medicacion|medicamentos|terapia|farmaci|medicacao|medicatie"
    ),
    "allergies": "allergies|allergy|allergien|allergie|alergias|allergia|medicijnallergie",
    "vitals": (
        "vitals|vital signs|vitalparameter|vitalzeichen|signes vitaux|constantes|signos vitales|parametri vitali|"
        "sinais vitais|vitale parameters"
    ),
}
SECTIONS = tuple(_HEADINGS)
"""Names of the sections that are known, answers first."""
_NAMES = {heading: name for name, headings in _HEADINGS.items() for heading in headings.split("|")}
_ANYWHERE = (
    "finding findings impression impressions conclusion conclusions diagnosis diagnoses assessment interpretation "
    "befund befunde beurteilung diagnose diagnosen schlussfolgerung constatations diagnostic diagnostics hallazgo "
    "hallazgos impresion conclusiones diagnostico diagnosticos reperto reperti impressione conclusione conclusioni "
    "diagnosi achado achados impressao conclusao conclusoes bevinding bevindingen conclusie beoordeling"
)
_STRONG = frozenset(_NAMES) & frozenset(_ANYWHERE.split())
"""Headings that state the answer with any word beside them: 'Mammographic findings', 'Hallazgos pulmonares'."""
_BESIDE = (
    "final preliminary clinical radiological radiologic radiographic radiology imaging image main principal "
    "primary secondary overall discharge admission admitting pathological pathologic histological histologic "
    "pathology working provisional pertinent significant key other additional brief official ct mri mr mrt us "
    "pet xr cxr chest thorax thoracic x ray radiograph klinische klinischer klinisches radiologische "
    "radiologischer vorlaufige vorlaufiger vorlaufiges endgultige abschliessende abschliessender "
    "zusammenfassende rontgen aktueller aktuelle haupt neben clinique cliniques finale principale radiologique "
    "radiologiques definitif definitive clinico clinica clinicos radiologico radiologica radiologicos "
    "radiologici definitivo definitiva presuntivo presuntiva inicial radiografico radiografica voorlopige "
    "radiologisch de del du des la le les el di do da van het of for"
)
"""Words that may stand beside a heading and do not change what it is."""
_AROUND = frozenset(_BESIDE.split())

_COMPOUND = re.compile(
    r"(?!vor|alt|labor)\w{3,}?"
    r"(befund|befunde|bericht|diagnose|diagnosen|beurteilung|bewertung|eindruck|verslag|conclusie)"
)
"""German and Dutch make one word of a heading and the word beside it: 'Entlassungsdiagnose', but not 'Vorbefund'."""
_LOOSE = (
    "observations results result description summary narrative plan evaluation descripcion descrizione descricao "
    "beschrijving evaluacion"
)
_WEAK = frozenset(_LOOSE.split())
"""Headings of honest text as often as of the answer."""
_CARRIES_ON = re.compile(
    r"\s*(?:of|at|in|on|from|for|since|with|by|was|were|is|are|der|des|von|bei|de|del|di|da|van)\b", re.I
)
"""What follows a word in a sentence, and no heading."""

_ANSWERS = frozenset(SECTIONS[: SECTIONS.index("history")])
_REPORT = _ANSWERS | {"technique", "comparison"}
_REOPENS = frozenset({"history", "medication", "allergies", "vitals"})
_AND = re.compile(r"[/&+]| and | und | et | y | e | en | og ")
_DECORATION = " \t#>*_=+/-•·–|"
_STAMP = re.compile(
    r"[\[(]?(?:(?:\d{4}-\d\d?-\d\d?|\d\d?[./-]\d\d?[./-](?:\d{4}|\d\d))(?:[T,\s]+(?=\d\d?[:.]\d\d))?)?"
    r"(?:\d\d?[:.]\d\d(?:[:.]\d\d)?(?:\s?(?:[ap]m|uhr|h)\b)?)?[\])]?[\s:,-]+",
    re.I,
)
"""A date, a time of day, or both."""
_NUMBER = re.compile(r"\(?(?:\d{1,2}|[IVX]{1,4}|[A-Za-z])[.)][ \t]*")
_BRACKET = re.compile(r"\[([^\[\]]{1,80})\]")
_WORD = re.compile(r"[^\W\d_][\w'’.]*")
_GAP = re.compile(r"\*\*|__|\.[ \t]*[-–—]+|[ \t]*[=|]|[ \t]*[-–—]+[ \t]*|[ \t]{2,}|\t")
_COLON = re.compile("[:：]")
_SENTENCE_ENDS = (".", ";", "!", "?", "|", ")", "]", "。")
_PART_ENDS = (",", "-", "–", "—", "•", "·")
_LONGEST = 80
"""Letters of a line within which a heading ends."""
_MOST_WORDS = 8
"""Words of a heading."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading in a text."""

    start: int
    """Where its line, or inside a line it, begins."""
    names: tuple[str, ...]
    """Sections that it announces, by their names in SECTIONS: 'Findings and impression' are two."""
    ends: bool
    """Whether it ends a section that is left out."""
    weak: bool = False
    """Whether it heads honest text as often as the answer."""


def leave_out(text: str, left_out: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return a text without some of its sections, headings included.

    Args:
        text: lines end in newlines.
        left_out: names in SECTIONS.

    Returns:
        What is left, and the names of the sections that were found and left out, in the order of SECTIONS.
    """
    kept: list[str] = []
    found: set[str] = set()
    begin, keeping = 0, True
    for heading in find_headings(text):
        answers = set(heading.names) & set(left_out)
        if not answers and not keeping and not heading.ends:
            continue
        kept += [text[begin : heading.start]] if keeping else []
        begin, keeping = heading.start, not answers
        found |= answers
    if not found:
        return text, ()
    kept += [text[begin:]] if keeping else []
    return "".join(kept).strip(), tuple(name for name in SECTIONS if name in found)


def find_headings(text: str) -> list[Heading]:
    """Find every heading of a text, in order."""
    lines = text.split("\n")
    found: list[Heading] = []
    start = 0
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        label, names = _line_start(line, after)
        first = [Heading(0, names, _REOPENS.issuperset(names), _is_weak(label))] if names else []
        inside = sorted([*first, *_inside(line), *_in_capitals(line)], key=lambda heading: heading.start)
        found += [replace(heading, start=start + heading.start) for heading in inside]
        start += len(line) + 1
    is_report = any(not heading.weak and not _REPORT.isdisjoint(heading.names) for heading in found)
    return [heading for heading in found if is_report or not heading.weak]


def is_heading(label: str) -> bool:
    """Whether words that stand out from their text head one of the sections."""
    return bool(_sections(label))


def _line_start(line: str, after: str) -> tuple[str, tuple[str, ...]]:
    """Return the heading at the start of a line, and the sections that it announces; the next line tells a sentence."""
    rest = line.lstrip(_DECORATION)
    for lead in (_STAMP, _NUMBER):
        rest = rest[found.end() :].lstrip(_DECORATION) if (found := lead.match(rest)) else rest
    label, *text = _COLON.split(rest[:_LONGEST], maxsplit=1)
    if text and (names := _sections(label) or _with_any_word(label)):
        return label, names
    if (bracket := _BRACKET.match(rest)) and (names := _sections(bracket[1])):
        return bracket[1], names
    for gap in _GAP.finditer(rest[:_LONGEST]):
        label = rest[: gap.start()]
        if (names := _sections(label)) and _stands_out(label, names, gap[0], rest[gap.end() :]):
            return label, names
    alone = rest.rstrip(_DECORATION + ".")
    names = _sections(alone) if len(alone) <= _LONGEST else ()
    heads = alone[:1].isupper() or (_is_strong(alone) and not _CARRIES_ON.match(after))
    return (alone, names) if heads else ("", ())


def _stands_out(label: str, names: tuple[str, ...], gap: str, text: str) -> bool:
    """Whether words are a heading by the sign, or the white space, between them and the text."""
    if label.isupper():
        return True
    if gap.isspace():
        return _is_strong(label) and not _CARRIES_ON.match(text)
    if gap in ("-", "–", "—"):  # 'Diagnosis-related'
        return False
    return label[:1].isupper() or not _ANSWERS.isdisjoint(names)


def _inside(line: str) -> Iterator[Heading]:
    """Find headings inside a line: words before a colon, in capitals or at the start of a part of a sentence."""
    last = 0
    for colon in _COLON.finditer(line):
        begin, last = max(last, colon.start() - _LONGEST), colon.end()
        for word in list(_WORD.finditer(line, begin, colon.start()))[-_MOST_WORDS:]:
            label, before = line[word.start() : colon.start()], line[begin : word.start()].rstrip(" \t#>*_=")
            capitals, part = label.isupper(), before.endswith(_PART_ENDS) or _is_run_on(before, label)
            if not (capitals or part or before.endswith(_SENTENCE_ENDS)):
                continue
            names = _sections(label)
            sentence = capitals or before.rstrip(_DECORATION).endswith(_SENTENCE_ENDS)
            if names and (sentence or not _ANSWERS.isdisjoint(names)):
                ends = capitals and _REOPENS.issuperset(names)
                yield Heading(word.start(), names, ends, _is_weak(label))
                break


def _is_run_on(before: str, label: str) -> bool:
    """Whether a text whose lines have run together begins a heading here: 'cough Impression: pneumonia'."""
    return label[0].isupper() and before[-1:].isalnum() and before.split()[-1][0].islower() and _is_strong(label)


def _in_capitals(line: str) -> Iterator[Heading]:
    """Find headings that only capitals tell from the text after them: 'IMPRESSION pneumonia'."""
    words, shouted = list(_WORD.finditer(line)), line.isupper()
    for number, word in enumerate(words):
        begins = not number or not (shouted or words[number - 1][0].isupper())
        if not (begins and word[0].isupper()):
            continue
        for last in words[number : number + _MOST_WORDS]:
            label, text = line[word.start() : last.end()], line[last.end() : last.end() + _LONGEST]
            names = _sections(label) if last[0].isupper() else ()
            if names or not last[0].isupper():
                follows = text[:1].isspace() and text.lstrip()[:1].isalnum() and not _CARRIES_ON.match(text)
                if len(label) > len("A/P") and follows and not _ANSWERS.isdisjoint(names):
                    yield Heading(word.start(), names, ends=False, weak=_is_weak(label))
                break


def _sections(label: str) -> tuple[str, ...]:
    """Return what a label announces; () if any part of it is not known: 'Findings and impression' is two parts."""
    words = _plain(label)
    if whole := _name(words):
        return (whole,)
    parts = [_section(part) for part in _AND.split(words)]
    return tuple(dict.fromkeys(parts)) if all(parts) else ()


def _with_any_word(label: str) -> tuple[str, ...]:
    """Return the answer that a label announces with words beside it that are not known.

    In capitals it may stand anywhere ('CT ABDOMEN FINDINGS TODAY'), else first or last among four words.
    """
    words = _plain(label).split()[:_MOST_WORDS]
    if not label.isupper():
        words = [words[0], words[-1]] if 1 < len(words) <= 4 and label[0].isupper() else []
    return tuple(dict.fromkeys(_name(word) for word in words if word in _STRONG or _COMPOUND.fullmatch(word)))


def _section(part: str) -> str:
    """Return the section that one part of a label names, with or without words beside it that mean nothing."""
    words = part.split()
    while words and not _name(" ".join(words)) and words[0] in _AROUND:
        words = words[1:]
    while words and not _name(" ".join(words)) and words[-1] in _AROUND:
        words = words[:-1]
    return _name(" ".join(words))


def _name(words: str) -> str:
    """Return the section that plain words name, as they are or as a compound; '' if none."""
    compound = _COMPOUND.fullmatch(words)
    return _NAMES.get(words) or (_NAMES[compound[1]] if compound else "")


def _is_strong(label: str) -> bool:
    """Whether a label has a word that states the answer, and none that could be of a sentence."""
    words = set(_plain(label).split()) - _AROUND
    return bool(words) and all(word in _STRONG or _COMPOUND.fullmatch(word) for word in words)


def _is_weak(label: str) -> bool:
    """Whether a label may as well head honest text."""
    return set(_plain(label).split()) - _AROUND <= _WEAK


def _plain(label: str) -> str:
    """Return a label in small letters without accents, brackets' content, digits and most signs."""
    label = re.sub(r"\([^)]*\)?", " ", label)
    letters = unicodedata.normalize("NFKD", label.casefold())
    letters = "".join(one for one in letters if not unicodedata.combining(one))
    return " ".join(re.sub(r"[^\w/&+]|[\d_]", " ", letters).split())
