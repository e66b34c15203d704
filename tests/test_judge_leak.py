"""Promises of the leak audit: it finds what was planted, stays quiet on the honest, and says what it did not try."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace

import imagehash
import numpy as np
import PIL.Image
import pytest

from medmm.judge.leak.audit import Audit, audit
from medmm.judge.leak.duplicate import Duplicate
from medmm.judge.leak.shortcut import Shortcut
from medmm.read.survey import Look, Surveyed

LABELS = ("cancer",)
NOTES = (
    "Persistent dry cough since returning from the coast, with weight loss noticed by his wife.",
    "Fell from a ladder while pruning apple trees; tender over the seventh rib on the left side.",
    "Night sweats for three weeks, keeps pigeons, and a nephew was treated for tuberculosis abroad.",
)


def cohort(
    count: int = 200, seed: int = 0, labels: Sequence[str] = LABELS, columns: int = 3, each: int = 1
) -> list[Surveyed]:
    """Cases of noise: `each` cases a patient, labels that nothing tells."""
    rng = np.random.default_rng(seed)
    return [
        Surveyed(
            case_id=f"case-{number}",
            patient_id=f"patient-{number // each}",
            study_patient_id="",
            study_uid="",
            present=("image", "record"),
            looks=(),
            note="",
            record={},
            cells={f"column {place}": cell(rng, place) for place in range(columns)},
            targets={label: float(rng.random() < 0.4) for label in labels},
            remarks=(),
        )
        for number in range(count)
    ]


def cell(rng: np.random.Generator, place: int) -> str:
    """A number, a word of three, an id, or a date; some of them empty."""
    if rng.random() < (0.3 if place % 2 else 0.05):
        return ""
    kinds = (
        f"{rng.normal():.2f}",
        str(rng.choice(["left", "right", "both"])),
        f"id-{rng.integers(10**6)}",
        f"20{rng.integers(10, 25)}-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}",
    )
    return kinds[place % 4]


def with_cells(cases: Sequence[Surveyed], name: str, says: Callable[[Surveyed, int], str]) -> list[Surveyed]:
    """The cases with one more column."""
    return [replace(case, cells={**case.cells, name: says(case, place)}) for place, case in enumerate(cases)]


def with_notes(cases: Sequence[Surveyed], says: Callable[[Surveyed, int], str]) -> list[Surveyed]:
    """The cases with notes."""
    return [replace(case, note=says(case, place)) for place, case in enumerate(cases)]


def picture(seed: int, side: int = 128) -> PIL.Image.Image:
    """A grey picture with structure of its own at all scales, as a film has; `seed` decides it."""
    rng = np.random.default_rng(seed)
    shape = (side, side)
    layers = [
        np.asarray(
            PIL.Image.fromarray(rng.random((n, n)).astype(np.float32)).resize(shape, PIL.Image.Resampling.BICUBIC)
        )
        for n in (4, 8, 16, 32)
    ]
    return PIL.Image.fromarray(np.clip(40 * sum(layers), 0, 255).astype(np.uint8))


def look(shown: PIL.Image.Image, **tags: str) -> Look:
    """Boil a picture down as the survey does."""
    small = shown.copy()
    small.thumbnail((96, 96))
    size = {"Rows": str(shown.height), "Columns": str(shown.width)}
    digest = f"{shown.size} {hash(shown.tobytes())}"
    return Look("CR", digest, (int(str(imagehash.phash(shown)), 16),), np.asarray(small), size | tags, ())


def pictured(cases: Sequence[Surveyed], **tags: str) -> list[Surveyed]:
    """The cases, each with a picture of its own."""
    return [replace(case, looks=(look(picture(place), **tags),)) for place, case in enumerate(cases)]


def found(result: Audit, suspect: str, kind: str, label: str = "cancer") -> Shortcut:
    """The one answer on a suspect."""
    (one,) = [s for s in result.shortcuts if (s.suspect, s.kind, s.label) == (suspect, kind, label)]
    return one


def alarms(result: Audit) -> list[str]:
    """Every sentence that is not quiet."""
    said = [one.sentence for one in result.duplicates if one.verdict != "quiet"]
    return said + [one.sentence for one in result.shortcuts if one.verdict != "quiet"]


def has(case: Surveyed) -> bool:
    """Whether the case has the first label."""
    return next(iter(case.targets.values())) == 1


# shortcuts


def test_a_column_that_is_empty_only_without_the_label_is_a_leak() -> None:
    cases = with_cells(cohort(), "sex", lambda case, place: "" if not has(case) and place % 4 else "f")
    one = found(audit(cases, ["sex"], LABELS), "sex", "missing")
    absent = [case for case in cases if not has(case)]
    expected = 0.5 + sum(not case.cells["sex"] for case in absent) / len(absent) / 2
    assert one.verdict == "leak"
    assert one.auroc == pytest.approx(expected)
    assert one.low < one.auroc < one.high
    assert "'cancer' can be told from whether 'sex' is empty alone" in one.sentence
    assert "200 cases" in one.sentence


def test_a_missing_modality_that_tells_the_label_is_a_leak() -> None:
    cases = [replace(case, present=("image", "note") if has(case) else ("image",)) for case in cohort()]
    assert found(audit(cases, [], LABELS), "note", "missing").verdict == "leak"


def test_missing_cells_that_tell_little_each_are_found_together() -> None:
    rng = np.random.default_rng(1)
    cases = cohort(600, columns=0)
    for number in range(12):
        cases = with_cells(cases, f"c{number}", lambda case, _: "" if rng.random() < 0.35 + 0.2 * has(case) else "1")
    result = audit(cases, [f"c{number}" for number in range(12)], LABELS)
    assert found(result, "all inputs together", "missing").verdict != "quiet"
    assert all(found(result, f"c{number}", "missing").verdict == "quiet" for number in range(12))


def test_a_device_that_tells_the_label_is_named() -> None:
    cases = [
        replace(case, looks=(look(picture(place), Manufacturer=maker, KVP=f"{60 + place * 37 % 50}"),))
        for place, case in enumerate(cohort())
        for maker in ("Acme" if has(case) != (place % 10 == 0) else "Bolt",)
    ]
    result = audit(cases, [], LABELS)
    assert found(result, "Manufacturer", "acquisition").verdict == "leak"
    assert found(result, "all tags together", "acquisition").verdict == "leak"
    assert found(result, "KVP", "acquisition").verdict == "quiet"


def test_a_size_of_the_picture_that_tells_the_label_is_named() -> None:
    cases = [replace(case, looks=(look(picture(n, 100 + 50 * has(case))),)) for n, case in enumerate(cohort())]
    assert found(audit(cases, [], LABELS), "Rows", "acquisition").verdict == "leak"


def test_a_column_that_restates_the_label_is_a_leak() -> None:
    words = with_cells(cohort(), "outcome", lambda case, _: "died" if has(case) else "alive")
    numbers = with_cells(words, "score", lambda case, place: str(place % 50 + 100 * has(case)))
    result = audit(numbers, ["outcome", "score"], LABELS)
    assert found(result, "outcome", "value").verdict == "leak"
    assert found(result, "score", "value").verdict == "leak"


def test_a_column_that_is_no_input_is_never_a_leak_and_the_sentence_says_so() -> None:
    cases = with_cells(cohort(), "outcome", lambda case, _: "died" if has(case) else "alive")
    one = found(audit(cases, [], LABELS), "outcome", "value")
    assert one.verdict == "suspicious"
    assert "It is not an input" in one.sentence


def test_an_honest_strong_column_is_quiet_and_called_honest_strength() -> None:
    rng = np.random.default_rng(5)
    cases = with_cells(cohort(500), "age", lambda case, _: f"{rng.normal(60 + 12 * has(case), 12):.0f}")
    one = found(audit(cases, ["age"], LABELS), "age", "value")
    assert 0.7 < one.auroc < 0.85
    assert one.verdict == "quiet"
    assert "Honest strength" in one.sentence


def test_a_date_that_tells_the_label_is_found_as_a_number() -> None:
    cases = with_cells(cohort(), "seen", lambda case, n: f"{2015 + has(case)}-{n % 12 + 1:02d}-{n % 28 + 1:02d}")
    assert found(audit(cases, ["seen"], LABELS), "seen", "value").verdict == "leak"


def test_a_value_in_the_middle_that_tells_the_label_is_found() -> None:
    rng = np.random.default_rng(2)
    cases = with_cells(
        cohort(400),
        "dose",
        lambda case, _: f"{rng.uniform(4, 6) if has(case) else rng.choice([1, 9]) + rng.random():.2f}",
    )
    assert found(audit(cases, ["dose"], LABELS), "dose", "value").verdict != "quiet"


def test_a_column_of_ids_does_not_look_telling() -> None:
    cases = with_cells(cohort(), "accession", lambda case, place: f"A{place * 7919 % 1000}")
    one = found(audit(cases, ["accession"], LABELS), "accession", "value")
    assert one.verdict == "quiet"
    assert one.auroc < 0.6


def test_a_patient_s_many_cases_do_not_make_the_patient_s_column_telling() -> None:
    cases = cohort(400, each=8)
    one_answer = [replace(case, targets=cases[place // 8 * 8].targets) for place, case in enumerate(cases)]
    cases = with_cells(one_answer, "village", lambda case, place: f"village {place // 8}")
    assert found(audit(cases, ["village"], LABELS), "village", "value").verdict == "quiet"


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_quiet_in_a_cohort_of_forty_columns_and_three_labels(seed: int) -> None:
    labels = ("a", "b", "c")
    words = np.random.default_rng(seed).choice(list("abcdefghijklmnopqrstuvwxyz"), (60, 5))
    rng = np.random.default_rng(seed)
    cases = cohort(120, seed, labels, columns=40)
    cases = with_notes(cases, lambda case, _: " ".join("".join(words[n]) for n in rng.integers(60, size=12)))
    assert alarms(audit(cases, [f"column {place}" for place in range(40)], labels, seed=seed)) == []


def test_worst_comes_first() -> None:
    cases = with_cells(cohort(), "sex", lambda case, _: "" if has(case) else "f")
    cases = with_cells(cases, "result", lambda case, _: "x" if has(case) else "y")
    order = [one.verdict for one in audit(cases, ["sex"], LABELS).shortcuts]
    assert order == sorted(order, key=["leak", "suspicious", "quiet"].index)
    assert order[0] == "leak"


def test_the_same_seed_gives_the_same_answer() -> None:
    cases = cohort()
    assert audit(cases, ["column 0"], LABELS, seed=3) == audit(cases, ["column 0"], LABELS, seed=3)


def test_each_class_of_several_is_tried_against_the_rest() -> None:
    classes = ("mel", "nev", "bcc")
    rng = np.random.default_rng(0)
    answers = [classes[n] for n in rng.integers(3, size=240)]
    cases = [
        replace(case, targets={name: float(name == said) for name in classes})
        for case, said in zip(cohort(240), answers, strict=True)
    ]
    cases = with_cells(cases, "ward", lambda case, _: "dermatology" if case.targets["mel"] else "")
    result = audit(cases, ["ward"], classes)
    assert found(result, "ward", "missing", "mel").verdict == "leak"
    assert {one.label for one in result.shortcuts} == set(classes)


def test_answers_that_are_not_stated_are_left_out() -> None:
    cases = with_cells(cohort(300), "sex", lambda case, place: "" if has(case) else "f")
    unstated = [replace(c, targets={"cancer": np.nan}) if n % 3 == 0 else c for n, c in enumerate(cases)]
    one = found(audit(unstated, ["sex"], LABELS), "sex", "missing")
    assert (one.cases, one.auroc) == (200, 1.0)


def test_a_label_of_too_few_patients_is_said_not_to_be_tested() -> None:
    rare = [replace(case, targets={"cancer": float(place < 4)}) for place, case in enumerate(cohort())]
    result = audit(rare, ["column 0"], LABELS)
    assert result.shortcuts == ()
    (said,) = result.not_tested
    assert "'cancer': 4 patients with it and 196 without" in said


def test_a_column_stated_for_too_few_patients_is_said_not_to_be_tested() -> None:
    cases = with_cells(cohort(), "biopsy", lambda case, place: str(place) if place < 6 else "")
    assert any("'biopsy' against cancer" in said for said in audit(cases, [], LABELS).not_tested)


def test_no_cases_no_labels_and_nothing_stated_are_quiet() -> None:
    empty = [replace(case, cells={"x": ""}, targets={"cancer": np.nan}) for case in cohort(20)]
    assert audit([], [], LABELS).verdict == "quiet"
    assert audit(cohort(20), [], ()).shortcuts == ()
    assert audit(empty, ["x"], LABELS).not_tested


# words


def test_a_word_that_gives_the_label_away_is_found_with_its_counts() -> None:
    cases = with_notes(cohort(), lambda c, n: f"Cough and fever. {'Excision planned.' if has(c) else 'Review soon.'}")
    result = audit(cases, [], LABELS)
    one = found(result, "excision", "word")
    with_label = sum(has(case) for case in cases)
    assert one.verdict == "leak"
    assert f"{with_label} of {with_label} patients" in one.sentence
    assert found(result, "review", "word").verdict == "leak"


def test_the_label_s_own_name_in_a_note_is_found_in_another_form_too() -> None:
    cases = with_notes(
        cohort(labels=("intubated",)), lambda c, n: "After intubation." if has(c) and n % 3 else "Cough."
    )
    one = found(audit(cases, [], ("intubated",)), "intubated", "word", "intubated")
    assert one.verdict == "leak"
    assert "the label's own name" in one.sentence


def test_an_honest_symptom_is_no_giveaway() -> None:
    rng = np.random.default_rng(4)
    cases = with_notes(cohort(500), lambda c, n: "It bleeds." if rng.random() < 0.1 + 0.6 * has(c) else "It itches.")
    assert alarms(audit(cases, [], LABELS)) == []


def test_a_word_of_fewer_than_five_patients_is_never_printed() -> None:
    cases = with_notes(cohort(), lambda c, n: "Kowalczyk has a cough." if has(c) and n < 9 else "A cough.")
    holders = sum("Kowalczyk" in case.note for case in cases)
    assert 0 < holders < 5
    assert "kowalczyk" not in repr(audit(cases, [], LABELS)).lower()


def test_many_cases_of_one_patient_do_not_make_a_word_printable() -> None:
    cases = cohort(240, each=12)
    cases = with_notes(cases, lambda c, n: "Kowalczyk has a cough." if n < 12 else "A cough.")
    assert "kowalczyk" not in repr(audit(cases, [], LABELS)).lower()


# duplicates


def pair(result: Audit) -> Duplicate:
    """The one pair that was found."""
    (one,) = result.duplicates
    return one


def jpeg(shown: PIL.Image.Image) -> PIL.Image.Image:
    """The picture after a lossy round."""
    file = io.BytesIO()
    shown.save(file, "JPEG", quality=40)
    return PIL.Image.open(io.BytesIO(file.getvalue())).convert("L")


def one_grey_level(shown: PIL.Image.Image) -> PIL.Image.Image:
    """The picture with every pixel one level up, down or as it was."""
    pixels = np.asarray(shown).astype(int) + np.random.default_rng(0).integers(-1, 2, (shown.height, shown.width))
    return PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


COPIES: dict[str, Callable[[PIL.Image.Image], PIL.Image.Image]] = {
    "as JPEG": jpeg,
    "one grey level": one_grey_level,
    "cropped": lambda shown: shown.crop((3, 2, shown.width - 3, shown.height - 3)),
    "half the size": lambda shown: shown.resize((shown.width // 2, shown.height // 2)),
    "brighter": lambda shown: shown.point(lambda level: min(255, round(level * 1.2) + 5)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_picture_that_comes_back_changed_a_little_is_found(kind: str) -> None:
    cases = pictured(cohort(40))
    cases[7] = replace(cases[7], looks=(look(COPIES[kind](picture(30))),))
    one = pair(audit(cases, [], ()))
    assert (one.kind, one.verdict, one.crosses_patients) == ("near pixels", "leak", True)
    assert {one.first, one.second} == {"case-7", "case-30"}
    assert 0.9 <= one.similarity < 1


def test_the_same_pixels_in_two_patients_are_a_leak() -> None:
    cases = pictured(cohort(40))
    cases[7] = replace(cases[7], looks=cases[30].looks)
    one = pair(audit(cases, [], ()))
    assert (one.kind, one.verdict, one.similarity) == ("pixels", "leak", 1)
    assert "give both one patient id" in one.sentence


def test_pictures_that_look_alike_only_in_the_large_are_not_duplicates() -> None:
    rng = np.random.default_rng(0)
    body = np.asarray(picture(0).resize((8, 8)).resize((128, 128), PIL.Image.Resampling.BICUBIC)).astype(float)
    films = [
        PIL.Image.fromarray(np.clip(body + rng.normal(0, 12, body.shape), 0, 255).astype(np.uint8)) for _ in range(9)
    ]
    cases = [replace(case, looks=(look(film),)) for case, film in zip(cohort(9), films, strict=True)]
    assert audit(cases, [], ()).duplicates == ()


def test_blank_pictures_are_evidence_of_nothing() -> None:
    blank = look(PIL.Image.new("L", (128, 128)))
    assert audit([replace(case, looks=(blank,)) for case in cohort(30)], [], ()).duplicates == ()


def test_a_copy_across_parts_is_said_to_cross_them() -> None:
    cases = pictured(cohort(20, each=2))
    cases[3] = replace(cases[3], looks=cases[2].looks)
    inside = pair(audit(cases, [], ()))
    assert (inside.verdict, inside.parts, inside.crosses_parts) == ("quiet", None, False)
    parts = {case.case_id: "test" if place == 3 else "train" for place, case in enumerate(cases)}
    across = next(one for one in audit(cases, [], (), parts).duplicates if one.kind == "pixels")
    assert (across.verdict, across.parts, across.crosses_parts) == ("leak", ("train", "test"), True)
    assert "One is in train, the other in test" in across.sentence


def test_a_patient_in_two_parts_is_a_leak() -> None:
    cases = cohort(6, each=2)
    parts = {case.case_id: "test" if place == 1 else "train" for place, case in enumerate(cases)}
    one = pair(audit(cases, [], (), parts))
    assert (one.kind, one.verdict, one.first, one.second) == ("patient", "leak", "case-0", "case-1")


def test_a_group_of_copies_is_a_chain_of_pairs() -> None:
    cases = pictured(cohort(30))
    cases = [replace(case, looks=cases[0].looks) if place < 6 else case for place, case in enumerate(cases)]
    assert len(audit(cases, [], ()).duplicates) == 5


def test_one_patient_id_of_the_files_under_two_patients_is_found_and_not_printed() -> None:
    cases = [replace(case, study_patient_id=f"MRN-{min(place, 28)}") for place, case in enumerate(cohort(30))]
    result = audit(cases, [], ())
    assert (pair(result).kind, pair(result).verdict) == ("patient id", "leak")
    assert "MRN" not in repr(result)


def test_a_placeholder_patient_id_is_said_not_to_be_one() -> None:
    result = audit([replace(case, study_patient_id="ANON") for case in cohort(30)], [], ())
    assert result.duplicates == ()
    assert any("placeholder" in said for said in result.not_tested)


def test_one_study_in_two_cases_is_found() -> None:
    cases = [replace(case, study_uid=f"1.2.{min(place, 28)}") for place, case in enumerate(cohort(30))]
    assert pair(audit(cases, [], ())).kind == "study uid"


def test_a_free_note_that_two_patients_share_is_found() -> None:
    rng = np.random.default_rng(0)
    pool = " ".join(NOTES).split()
    cases = with_notes(cohort(60), lambda c, n: NOTES[0] if n in (4, 40) else " ".join(rng.choice(pool, 14)))
    cases[40] = replace(cases[40], note=NOTES[0].upper().replace(" ", "  "))
    one = pair(audit(cases, [], ()))
    assert (one.kind, one.first, one.second, one.verdict) == ("note", "case-4", "case-40", "suspicious")
    assert "pigeons" not in repr(one)
    assert NOTES[0][:12] not in repr(one)


def test_templated_notes_that_coincide_by_chance_are_not_duplicates() -> None:
    rng = np.random.default_rng(0)

    def templated(case: Surveyed, place: int) -> str:
        where, says = rng.choice(["ear", "nose", "arm"]), rng.choice(["itches", "has grown", "bleeds"])
        return f"{rng.integers(40, 80)}-year-old patient with a lesion on the {where}. The patient says it {says}."

    cases = with_notes(cohort(300), templated)
    assert len({case.note for case in cases}) < 250
    assert audit(cases, [], ()).duplicates == ()


def test_a_note_that_many_patients_share_is_boilerplate_and_said_to_be() -> None:
    cases = with_notes(cohort(40), lambda c, n: NOTES[1] if n % 2 else f"{NOTES[2]} {NOTES[0][: n + 9]}")
    result = audit(cases, [], ())
    assert result.duplicates == ()
    assert any("boilerplate" in said for said in result.not_tested)
