"""How names, dates, numbers and places look in a note: regular expressions, English first, dates in seven languages.

A pattern's numbered group, where it has one, is what is replaced; otherwise all of it is.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Kind(StrEnum):
    """What was found; its replacement is '[NAME]', '[DATE]', ..."""

    NAME = "NAME"
    DATE = "DATE"
    ID = "ID"
    PHONE = "PHONE"
    EMAIL = "EMAIL"
    URL = "URL"
    PLACE = "PLACE"
    AGE = "AGE"


_MONTH_NAMES = (
    "january januar janvier enero gennaio janeiro januari jan ene gen janv",
    "february februar fevrier febrero febbraio fevereiro februari feb fev fevr",
    "march marz mars marzo marco maart mar maerz mrz mrt",
    "april avril abril aprile apr avr abr",
    "may mai mayo maggio maio mei mag",
    "june juni juin junio giugno junho jun giu",
    "july juli juillet julio luglio julho jul lug juil",
    "august aout agosto augustus aug ago",
    "september septembre septiembre settembre setembro sep sept set",
    "october oktober octobre octubre ottobre outubro oct okt ott out",
    "november novembre noviembre novembro nov",
    "december dezember decembre diciembre dicembre dezembro dec dez dic",
)
MONTHS = {name: number for number, names in enumerate(_MONTH_NAMES, start=1) for name in names.split()}
"""Name of a month, without capitals and accents -> its number."""

_MONTH = (
    r"(?:(?:[Jj]an|[Ee]ne|[Gg]en|[Ff]e[bv]|[Ff]év|[Mm]a[ryijg]|[Mm]är|[Mm]rz|[Mm]ei|[Mm]aart|[Aa][pvb]r|[Jj]u[nli]|"
    r"[Gg]iu|[Ll]ug|[Aa]ug|[Aa]o[uû]t|[Aa]go|[Ss]e[pt]|[Oo][ck]t|[Oo]tt|[Oo]ut|[Nn]ov|[Dd][eéi][czs])[a-zéûä]*\.?"
    r"|JAN|FEB|MAR|APR|MAY|MAI|JUN|JUL|AUG|SEP|OCT|OKT|NOV|DEC|DEZ)"
)
_YEAR = r"(?:19|20)\d\d"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_NTH = rf"{_DAY}(?:st|nd|rd|th|\.|er)?"
_DATED = r"(?i:\b(?:on|since|dated?|from|until|am|vom|seit|bis|le|du|el|born|dob:?) )"
_DATES = (
    rf"(?<![\d.])(?:{_YEAR})(?P<a>[-/.])(?:0?[1-9]|1[0-2])(?P=a){_DAY}(?!\d)",
    rf"(?<![\d.])\d{{1,2}}(?P<a>[-/.]) ?\d{{1,2}}(?P=a) ?(?:{_YEAR}|\d\d)(?![\d%]|\.\d)",
    rf"(?<!\d){_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d)",
    rf"\b{_NTH}[ -]?(?:of |de )?{_MONTH}(?: de)?[ ,-]+(?:{_YEAR}|\d\d)\b",
    rf"\b{_MONTH}[ -]{_DAY}(?:st|nd|rd|th)?,? {_YEAR}\b",
    rf"\b{_MONTH}[ ,/-]+{_YEAR}\b",
    rf"\b{_MONTH} {_DAY}(?:st|nd|rd|th)?\b(?! ?[%\d])",
    rf"\b{_NTH} (?:of )?{_MONTH}\b(?!\w)",
    rf"{_DATED}(\d{{1,2}}[/.]\d{{1,2}}\.?)(?![\d/])",
    rf"(?<![\d/])(?:0?[1-9]|1[0-2])/{_YEAR}\b",
)

_PHONES = (
    r"(?<![\w.])(?:\+|00)\d{1,3}[ ./-]?(?:\(?\d{1,5}\)?[ ./-]?){2,6}\d(?!\d)",
    r"(?<![\w.])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?!\d)",
    r"(?<!\w)\(\d{2,5}\) ?\d[\d -]{4,10}\d",
    r"(?i:\b(?:tel|phone|telephone|telefon|fax|mobile|cell|pager|bleep|ext)[.:]* *)(\+?\(?\d[\d ()/.-]{2,18}\d)",
    r"(?<![\w.])0\d{2,5}[ /-]\d{3,8}(?:[ -]\d{2,6})*(?!\d)",
)

_NUMBERED = (
    r"(?:M\.?R\.?N\.?|(?i:medical record|patient|pat|case|accession|acc|record|account|study|exam|order|visit|"
    r"encounter|hosp(?:ital)?|insurance|policy|passport|licen[cs]e|fall|serial|device|room|bed|ward)|"
    r"NHS|SSN|KIS|PID|UHID)"
)
_CODE = r"((?=[\w/-]*\d)[A-Za-z]{0,6}[-/]?\d[\w/-]*)"
_IDS = (
    r"(?<![\d.])\d{3}-\d{2}-\d{4}(?!\d)",
    r"(?<![\d.])\d{3} \d{3} \d{4}(?!\d)",
    r"\b\d+(?:\.\d+){4,}\b",
    rf"\b{_NUMBERED} ?(?i:(?:id|no|nr|number|nummer|#|identifier)\b\.?)? ?[:#=]? ?{_CODE}",
    r"\b(?i:id|identifier|nummer|no\.|nr\.|#) ?[:#]? ?((?=[\w/-]*\d{3})[\w/-]+)",
    r"(?<![\w.])\d{6,}(?!\w|\.\d)",
    r"\b(?=[A-Z-]*\d)[A-Z]{1,5}-?\d{4,}[A-Z\d-]*\b",
    r"\b\d{4,}-\d{2,}\b",
)

_OLD = r"(?:9\d|1[0-4]\d)"
_AGES = (
    rf"\b{_OLD}(?=[ -]?(?:years?|yrs?|yo\b|y/o|y\.o|y\b|[Jj]ahre|-?[Jj]ährig|J\.|ans\b|a[ñn]os|anni|jaar|lat\b))",
    r"(?<![\w.])(?:9|10)\d(?= ?[FMW]\b|[fmw]\b)",
    r"(?m:^) ?((?:9|10)\d)(?= [fmw]\b)",
    r"(?i:\bninety[ -](?:one|two|three|four|five|six|seven|eight|nine))(?=[ -]years?)",
    rf"\b(?i:aged?|alter) ?:? ?({_OLD})\b(?! ?%)",
)

_NAME = r"(?:[A-ZÀ-ÖØ-Þ][\w'’-]*[a-zß-öø-ÿ][\w'’-]*|[A-ZÀ-ÖØ-Þ]{2,}[\w'’-]*|[A-ZÀ-ÖØ-Þ]\.)"
_OF = r"(?:von|van|de|der|den|del|della|di|da|dos|la|le|bin|al|zu|zur|und|and)"
_NAMES = rf"{_NAME}(?:(?: ?, ?|[ \t]+(?:{_OF}[ \t]+){{0,2}}|-){_NAME}){{0,3}}"
_TITLE = (
    r"(?i:Drs?|Prof|Professor|Doctor|Mr|Mrs|Ms|Miss|Mister|Sir|Dame|Rev|Nurse|Sister|Herrn?|Frau|Mme|Mlle|Madame|"
    r"Monsieur|Sra?|Srta|Señora?|Dott|Dott\.ssa|Sig|Sig\.ra|Dhr|Mevr|Dipl|MUDr)\.?"
)
_INTRO = (
    r"(?i:name|patient(?:in)?(?:'s)? name|surname|forename|given name|family name|nachname|vorname|nom|prénom|"
    r"apellidos?|nombre|dear|lieber?|signed(?: by)?|dictated by|reported by|referred by|reviewed by|transcribed by|"
    r"requested by|referring(?: physician)?|attending|seen by|discussed with|notified|physician|radiologist|surgeon|"
    r"son|daughter|wife|husband|mother|father|brother|next of kin|carer|transcriptionist|technologist)"
)
_PERSONS = (
    rf"\b(?:{_TITLE} )+(?:(?:med|h\.c)\.? )?((?:{_OF} )*{_NAMES})",
    rf"\b{_INTRO}(?: is|:| -)? ?:? ?((?:{_OF} )*{_NAMES})",
    rf"\b({_NAMES}),? (?:M\.?D\.?|Ph\.?D\.?|R\.?N\.?|D\.?O\.?|FRCR|FRCP|MBBS|NP|PA-C)(?!\w)",
)

_HOUSE = (
    r"(?:Hospital|Hospitals|Clinic|Medical Cent(?:er|re)|Health Cent(?:er|re)|Infirmary|University|Institute|Hospice|"
    r"Nursing Home|Care Home|Sanatorium|Practice|Surgery|Krankenhaus|Klinikum|Klinik|Universität|Spital|"
    r"Kantonsspital|Ziekenhuis|Trust|College|School|Prison|Barracks|Healthcare)"
)
_HOUSE_OF = r"(?:University of|Hôpital|Hospital|Clinique|Ospedale|CHU|Klinikum|Klinik|Spital)"
_STREET = (
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Court|Ct|Boulevard|Blvd|Way|Place|Pl|Square|Sq|Terrace|Close|"
    r"Crescent|Gardens|Highway|Hwy|Parkway|Circle)"
)
_STATE = (
    r"(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|"
    r"W[AIVY])"
)
_AT = (
    r"(?i:lives? in|living in|resident (?:of|in)|from|born in|native of|moved to|travel(?:led|ed)? (?:to|from)|"
    r"wohnhaft in|aus|transferred (?:to|from)|returned from|visit(?:ed)? to|trip to|flew from)"
)
_PLACES = (
    rf"\b\d{{1,5}}[a-z]? (?:[A-Z][\w'-]+ ){{1,3}}{_STREET}\b",
    r"\b[A-ZÄÖÜ][\w-]+(?:straße|strasse|str\.|weg|gasse|platz|allee|laan|straat) ?\d+\s?[a-z]?\b",
    r"\b\d{1,4},? (?:rue|avenue|boulevard|place|calle|via|viale) (?:[\w'’-]+ ?){1,4}",
    rf"\b(?:[A-Z][\w.-]+,? )?{_STATE},? \d{{5}}(?:-\d{{4}})?\b",
    r"\b(?i:p\.? ?o\.? box) ?\d+",
    r"\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b",
    r"\b(?:D-|A-|CH-|F-)\d{4,5}\b(?: [A-Z][\w-]+)?",
    r"(?<![\d.])\d{5} (?=[A-ZÄÖÜ][a-zäöüß]{2,})[\w-]+",
    r"\b(?i:zip|postcode|plz)[: ]*(\w{2,4} ?\w{2,4})",
    rf"\b(?:(?:St\.?|[A-ZÀ-Þ][\w'’-]+|of|the|and|&) )*(?:St\.?|[A-ZÀ-Þ][\w'’.-]+) {_HOUSE}\b(?: of [A-Z][\w-]+)?",
    rf"\b{_HOUSE_OF} (?:de |da |del |di |do )?(?:la |los )?{_NAMES}",
    r"\bSt\. [A-Z][a-z]+(?:'s)?",
    rf"\b{_AT} ((?:the )?{_NAMES})",
)

PATTERNS: tuple[tuple[Kind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, patterns in (
        (Kind.EMAIL, (r"[\w.+-]+ ?@ ?[\w-]+(?:\.[\w-]+)+",)),
        (Kind.URL, (r"(?:https?|ftp)://\S+", r"\bwww\.[\w.-]+\S*", r"\b(?:\d{1,3}\.){3}\d{1,3}\b")),
        (Kind.DATE, _DATES),
        (Kind.PHONE, _PHONES),
        (Kind.ID, _IDS),
        (Kind.AGE, _AGES),
        (Kind.PLACE, _PLACES),
        (Kind.NAME, _PERSONS),
    )
    for pattern in patterns
)
_BORN = (
    r"(?:dob\b|d\.o\.b|birth|born|geb\b|geboren|geburt|geboorte|né(?:\(e\))?e?\b|naissance|ddn\b|nacid[oa]|nacimiento|"
    r"f?\.? ?nac\b|nascita|nascimento|nat[oa]\b|f[øö]d[dt]|urodz)"
)
BIRTH = re.compile(rf"(?i:\b{_BORN}[^\n;\d)]*$|(?:^|[\s(,;])\* ?$)")
"""Words before a date that make it a birth date, which is never shifted but taken out."""
BIRTH_BEHIND = re.compile(rf"(?i:\s*\(?\s*{_BORN})")
"""Such words behind a date."""
COMMON = frozenset(
    """
    a acute admitted an and april at august chest chronic clinic cough covid ct december department ed emergency er
    february fever for friday had has he heart her his history home hospital i icu in it january july june known left
    lung lungs male march may monday mr mri negative no normal not november nursing october of old on or outside pain
    patient pcr positive post right saturday september she spine status sunday that the there this thursday to tuesday
    upper lower ward was wednesday with x-ray xray year years female
    """.split()  # noqa: SIM905  # a list of so many strings would not be read
)
"""Words that stand with a capital where a name may stand, and are none."""
