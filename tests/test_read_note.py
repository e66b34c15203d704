"""What was written becomes a note in one form, or is no note at all; a file that is no note is refused."""

from pathlib import Path

import pytest

from medmm.errors import DataError, Reason
from medmm.read.chart.note import MAX_BYTES, read_note


def text(source: str | Path) -> str:
    note = read_note("c1", source)
    assert note is not None
    return note.text


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read_note("c1", path)
    return caught.value


@pytest.mark.parametrize("source", ["", "   ", "\n\t\r\n", "\x00\x07", "\u2028"])
def test_nothing_but_white_space_is_no_note(source: str) -> None:
    assert read_note("c1", source) is None


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\f", "\v", "\x85", "\u2028"])
def test_every_end_of_a_line_or_page_is_one_newline(end: str) -> None:
    assert text(f"Cough.{end}Fever.") == "Cough.\nFever."


def test_empty_lines_are_kept_and_margins_are_not() -> None:
    assert text("\n  Cough.\r\n\r\n  Fever.\n ") == "Cough.\n\n  Fever."


def test_letters_that_look_alike_are_alike() -> None:
    assert text("Fie\u0300vre") == text("Fi\u00e8vre") == "Fi\u00e8vre"


def test_control_characters_are_taken_out_and_tabs_are_kept() -> None:
    assert text("T\x00emp\x1b\t38 \ud800C") == "Temp\t38 C"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_file_is_read_with_or_without_byte_order_mark(tmp_path: Path, mark: bytes) -> None:
    (tmp_path / "note.txt").write_bytes(mark + "Fièvre.\r\n".encode())

    assert text(tmp_path / "note.txt") == "Fièvre."


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"CANARYNOTE \xff", Reason.CORRUPT, "its note is not UTF-8 text"),
        (b"CANARYNOTE" + bytes(MAX_BYTES), Reason.TOO_LARGE, "its note has more than 1 MiB"),
    ],
)
def test_a_file_that_is_no_note_is_refused(tmp_path: Path, content: bytes, code: Reason, words: str) -> None:
    (tmp_path / "note.txt").write_bytes(content)

    problem = refusal(tmp_path / "note.txt")

    assert problem.code == code
    assert str(problem).startswith(f"case c1: {words}. ")
    assert "CANARYNOTE" not in str(problem)
    assert problem.__context__ is None


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    problem = refusal(tmp_path / "CANARYNAME.txt")

    assert problem.code == Reason.MISSING_STUDY
    assert "CANARYNAME" not in str(problem)


def test_sections_that_state_the_answer_are_left_out_of_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_bytes(b"HISTORY: Cough.\r\nFINDINGS: CANARYNOTE.\r\n")

    note = read_note("c1", tmp_path / "note.txt", ("findings", "impression"))

    assert note is not None
    assert note.text == "HISTORY: Cough."
    assert note.remarks == ("sections left out, since they state the answer: FINDINGS",)


def test_a_note_is_read_whole_unless_something_is_to_be_left_out() -> None:
    note = read_note("c1", "FINDINGS: normal.")

    assert note is not None
    assert (note.text, note.remarks) == ("FINDINGS: normal.", ())
