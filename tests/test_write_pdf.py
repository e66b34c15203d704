"""What the paper promises: it says what the model said and what people made of it, in one shape and the same bytes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import PIL.Image
import PIL.ImageFont
import pypdf
import pytest

from medmm.result import Limits, Origin, Review, ScoredCase
from medmm.write.paint import COOL, WARM
from medmm.write.pdf import write_pdf
from medmm.write.picture import write_picture
from tests.scored import HEADER, MODEL, NOTE, finding, picture, scored_case

AT = datetime(2026, 11, 2, 3, 4, 5, tzinfo=UTC)
LONG = (
    "pneumonia",
    "acute_respiratory_distress_syndrome_with_bilateral_ground_glass_opacities_and_small_effusions",
    "lung_cancer",
    "Pneumonoultramicroscopicsilicovolcanoconiosis" * 3,
    "pleural effusion, left, small, loculated, of unknown age",
    "oedema",
)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for view in ("PA", "LL"):
        write_picture(folder, picture(view))
    return folder


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory, films: Path) -> pypdf.PdfReader:
    """An ordinary case of which nobody has said anything."""
    return written(tmp_path_factory.mktemp("paper") / "c1.pdf", scored_case("c1"), films)


def review(
    label: str = "lung_cancer", verdict: str = "override", hours: float = 1, comment: str = "Old scar."
) -> Review:
    return Review("c1", MODEL, label, verdict, comment, "Dr Okafor", AT + timedelta(hours=hours))  # type: ignore[arg-type]


def named(said: ScoredCase, alphabetic: str) -> ScoredCase:
    """The case of a patient with another name."""
    header = json.loads(HEADER) | {"00100010": {"vr": "PN", "Value": [{"Alphabetic": alphabetic}]}}
    return replace(said, evidence=replace(said.evidence, study=Origin("/nowhere", (), json.dumps(header))))


def six_labels() -> ScoredCase:
    said = scored_case("c" * 120)
    findings = tuple(finding(label, p) for label, p in zip(LONG, (0.2, 0.9999, 0.87, 0.41, 0.0004, 0.5), strict=True))
    return replace(said, prediction=replace(said.prediction, findings=findings, doubts=("unlike any case" * 30,)))


def written(path: Path, said: ScoredCase, films: Path, reviews: Sequence[Review] = ()) -> pypdf.PdfReader:
    write_pdf(path, said, AT, reviews, films)
    return pypdf.PdfReader(path)


def text(paper: pypdf.PdfReader) -> str:
    """All that is written, with line breaks as spaces."""
    return " ".join(" ".join(page.extract_text() for page in paper.pages).split())


def pieces(page: pypdf.PageObject) -> Iterator[tuple[str, float, float, float]]:
    """Each piece of text on a page: what, its left and right end and its baseline, in points."""
    found: list[tuple[str, float, float, float]] = []

    def visit(said: str, _: object, matrix: list[float], font: dict[str, str] | None, size: float) -> None:
        if said.strip() and font is not None:
            wide = face("Bold" in font["/BaseFont"]).getlength(said.strip()) * size / 100
            found.append((said.strip(), matrix[4], matrix[4] + wide, matrix[5]))

    page.extract_text(visitor_text=visit)
    return iter(found)


@lru_cache
def face(bold: bool) -> PIL.ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return PIL.ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), 100)


def test_it_says_word_probability_and_threshold_of_every_label_and_who_spoke_for_it(paper: pypdf.PdfReader) -> None:
    said = text(paper)

    assert "pneumonia Not flagged 20% starts at −1.50 threshold 40% image +0.02 note +0.04 record +0.06" in said
    assert "heart failure Not flagged 5%" in said
    assert "lung cancer Flagged 87%" in said
    assert "together +0.68" in said
    assert "Flagged: lung cancer." in said


def test_it_says_what_it_is_and_whom_and_which_study_it_is_about(paper: pypdf.PdfReader) -> None:
    said = text(paper)

    assert "Decision support for research, not a diagnosis. Not flagged does not rule anything out." in said
    for fact in ("Case c1", "Müller, Ada", "P-0001", "1952-03-04", "female", "2026-11-01 10:15", MODEL):
        assert fact in said
    assert "Scored at 2026-11-02 03:04 UTC" in said


def test_an_uncertain_label_is_called_so_and_the_doubts_and_remarks_are_there(tmp_path: Path, films: Path) -> None:
    one = scored_case("c1", note="")
    findings = tuple(replace(f, limits=Limits(0.0, 1.0, 0.1)) for f in one.prediction.findings)
    doubtful = replace(one, prediction=replace(one.prediction, findings=findings, doubts=("the film is upside down",)))

    said = text(written(tmp_path / "c1.pdf", doubtful, films))

    assert "Uncertain: pneumonia, heart failure, lung cancer." in said
    assert "lung cancer Uncertain 87%" in said
    assert "Doubts the film is upside down" in said
    assert "Given image (1 picture), record; not given: note" in said
    assert "Remarks report object without pixels left out; Film 1, PA: VOI window 1490/2610" in said


def test_a_persons_word_is_told_with_name_and_time_and_decides_what_holds(tmp_path: Path, films: Path) -> None:
    earlier = review("pneumonia", hours=-1, comment="Of an earlier scoring.")

    said = text(written(tmp_path / "c1.pdf", scored_case("c1"), films, [earlier, review()]))

    assert "Nothing is flagged. Changed by people: lung cancer." in said
    assert "lung cancer Overridden: not flagged. Dr Okafor, 2026-11-02 04:04 UTC. “Old scar.”" in said
    assert "earlier scoring" not in said


def test_what_a_second_reader_and_an_adjudicator_say_decides_between_people(tmp_path: Path, films: Path) -> None:
    second = replace(review(verdict="accept", hours=2), reviewer="Dr Sato", reading="second reader", blind=True)
    third = replace(review(verdict="cannot judge", hours=3), reviewer="Dr Lind", comment="")
    last = replace(review(verdict="accept", hours=4), reviewer="Prof Roy", reading="adjudicator")

    torn = text(written(tmp_path / "a.pdf", scored_case("c1"), films, [review(), second, third]))
    ended = text(written(tmp_path / "b.pdf", scored_case("c1"), films, [review(), second, third, last]))

    assert "lung cancer Flagged Disagreed: uncertain" in torn
    assert "Accepted: flagged. Said before the model’s answer was shown. Dr Sato (second reader)" in torn
    assert "Could not be judged. Dr Lind" in torn
    assert "lung cancer Flagged Adjudicated: flagged" in ended


def test_nobody_having_spoken_is_said_too(paper: pypdf.PdfReader) -> None:
    assert "Nobody has said anything of these findings yet." in text(paper)


def test_the_film_stands_beside_itself_with_what_spoke_for_the_leading_finding_in_orange_and_against_in_blue(
    paper: pypdf.PdfReader,
) -> None:
    plain, painted = (np.asarray(one.image, np.int32) for one in paper.pages[0].images)
    assert plain.shape == painted.shape
    hue = np.array(WARM) - np.array(COOL)
    moved = (painted - plain) @ hue
    assert moved.max() > 5_000
    assert moved.min() < -5_000
    assert "what spoke for lung cancer (orange) and against it (blue), by integrated gradients" in text(paper)


def test_a_case_without_films_and_one_whose_picture_is_gone_are_written_too(tmp_path: Path, films: Path) -> None:
    without = written(tmp_path / "a.pdf", scored_case("c1", views=()), films)
    gone = written(tmp_path / "b.pdf", scored_case("c1"), tmp_path / "empty")

    assert not list(without.pages[0].images)
    assert "Patient not stated" in text(without)
    assert "image not given" in text(without)
    assert not list(gone.pages[0].images)
    assert "The picture of Film 1, PA is not in the folder of films." in text(gone)


def test_the_same_case_gives_the_same_bytes(tmp_path: Path, films: Path) -> None:
    for name in ("a", "b"):
        write_pdf(tmp_path / f"{name}.pdf", scored_case("c1"), AT, [review()], films)

    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    assert pypdf.PdfReader(tmp_path / "a.pdf").metadata.creation_date == AT  # type: ignore[union-attr]


def test_the_note_is_not_in_it_and_the_patient_not_in_its_metadata(paper: pypdf.PdfReader) -> None:
    said = text(paper)
    assert not [word for word in ("smoker", "Haemoptysis", "fever", NOTE[:20]) if word in said]
    assert paper.metadata is not None
    told = " ".join(map(str, paper.metadata.values()))
    assert "c1" in told
    assert not [word for word in ("Müller", "Ada", "P-0001", "1952") if word in told]


def test_names_of_many_scripts_are_written_out(tmp_path: Path, films: Path) -> None:
    said = text(written(tmp_path / "c1.pdf", named(scored_case("c1"), "Ünal-Żółć^Ελένη Анна"), films))

    assert "Ünal-Żółć, Ελένη Анна" in said


def test_a_character_that_the_font_lacks_is_an_empty_square_and_goes_into_no_log(
    tmp_path: Path, films: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        said = text(written(tmp_path / "c1.pdf", named(scored_case("c1"), "Wáng^小东\x07\ud800"), films))

    assert "Wáng, □□?" in said
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "小" not in caplog.text


def test_six_labels_with_long_names_and_long_comments_stay_inside_the_page(tmp_path: Path, films: Path) -> None:
    said = six_labels()
    words = [review(label, hours=n + 1, comment="because " * 200 + "x" * 300) for n, label in enumerate(LONG)]

    paper = written(tmp_path / "c1.pdf", said, films, words)

    for place, page in enumerate(paper.pages, 1):
        _, _, width, height = page.mediabox
        for piece, left, right, base in pieces(page):
            assert left >= 40, piece
            assert right <= width - 40, piece
            assert 20 <= base <= height - 30, piece
        assert f"Page {place}/{len(paper.pages)}" in page.extract_text()
        assert MODEL in page.extract_text()
    assert "<1%" in text(paper)
    assert ">99%" in text(paper)


def test_an_ordinary_case_fits_on_one_page(tmp_path: Path, films: Path) -> None:
    paper = written(tmp_path / "c1.pdf", scored_case("c1", views=("PA", "LL")), films, [review(), review("pneumonia")])

    assert len(paper.pages) == 1


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path, films: Path) -> None:
    (tmp_path / "c1.pdf").mkdir()

    with pytest.raises(IsADirectoryError):
        write_pdf(tmp_path / "c1.pdf", scored_case("c1"), AT, [], films)

    assert [path.name for path in tmp_path.iterdir()] == ["c1.pdf"]
