"""An error is one line: which case, what is wrong, what to do; and it survives the way between processes."""

import pickle

import pytest

from medmm.errors import CohortError, ConfigError, DataError, MedmmError, ModelError, Reason, StoreError

KINDS = (ConfigError, CohortError, ModelError, StoreError)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_the_problem_and_the_remedy(kind: type[MedmmError]) -> None:
    problem = kind("the file is gone.", "Look for it.")

    assert str(problem) == "the file is gone. Look for it."
    assert (problem.problem, problem.remedy) == ("the file is gone", "Look for it")


def test_an_error_about_a_case_names_it_first() -> None:
    problem = DataError("c7", Reason.CORRUPT, "its file does not decode", "Export it again")

    assert str(problem) == "case c7: its file does not decode. Export it again."
    assert (problem.case_id, problem.code) == ("c7", "corrupt")


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_one_line_whatever_it_quotes(kind: type[MedmmError]) -> None:
    assert str(kind("no column 'a\nb'", "Call it\r\n'a b'")) == "no column 'a b'. Call it 'a b'."


def test_an_error_cannot_be_made_without_a_remedy() -> None:
    with pytest.raises(TypeError, match="remedy"):
        ConfigError("the file is gone")  # type: ignore[call-arg]  # that is the point


@pytest.mark.parametrize(
    "problem", [*(kind("gone", "Look") for kind in KINDS), DataError("c7", Reason.CORRUPT, "gone", "Look")], ids=repr
)
def test_an_error_survives_the_way_between_processes(problem: MedmmError) -> None:
    again = pickle.loads(pickle.dumps(problem))

    assert type(again) is type(problem)
    assert str(again) == str(problem)
    assert vars(again) == vars(problem)


def test_every_error_can_be_caught_as_one() -> None:
    assert all(issubclass(kind, MedmmError) for kind in (*KINDS, DataError))


def test_reason_codes_are_words_that_fit_a_file_and_an_address() -> None:
    assert all(set(reason.value) <= set("abcdefghijklmnopqrstuvwxyz-") for reason in Reason)
