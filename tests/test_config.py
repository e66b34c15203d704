"""The dials are read from one TOML; what they do not know is refused, with the name that was probably meant."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from medmm.config import CategoryColumn, CohortConfig, Dials, LabelColumns, NumberColumn, RunConfig, read_toml
from medmm.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, kind: type[Dials], text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_toml(written(folder, text), kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_empty_file_means_every_default(tmp_path: Path) -> None:
    assert read_toml(written(tmp_path, ""), RunConfig) == RunConfig()


def test_a_setting_is_read_and_the_others_keep_their_defaults(tmp_path: Path) -> None:
    config = read_toml(written(tmp_path, "[training]\nlearning_rate = 0.01\n"), RunConfig)

    assert config.training.learning_rate == 0.01
    assert config.training.epochs == RunConfig().training.epochs


def test_a_cohort_is_described_in_full(tmp_path: Path) -> None:
    text = """
        note = ""
        [labels]
        columns = ["flu"]
        [record]
        age = { unit = "a", low = 0 }
        sex = { categories = ["F", "M"] }
    """

    config = read_toml(written(tmp_path, text), CohortConfig)

    assert config.note == ""
    assert config.labels == LabelColumns(columns=("flu",))
    assert config.record == {
        "age": NumberColumn(unit="a", low=0, high=None),
        "sex": CategoryColumn(categories=("F", "M")),
    }


def test_a_column_may_state_its_usual_range_and_one_that_does_not_is_written_as_before(tmp_path: Path) -> None:
    text = "[record]\ncrp = { unit = 'mg/L', usual = [0, 5] }\nage = { unit = 'a' }\n"

    config = read_toml(written(tmp_path, text), CohortConfig)

    assert config.record["crp"] == NumberColumn(unit="mg/L", usual=(0.0, 5.0))
    assert config.model_dump()["record"]["age"] == {"unit": "a", "low": None, "high": None, "taken": "", "code": ""}


@pytest.mark.parametrize("stated", ["[5, 0]", "[5, 5]", "[0, inf]", "[nan, 5]"])
def test_a_usual_range_that_is_none_is_refused(tmp_path: Path, stated: str) -> None:
    told = refusal(tmp_path, CohortConfig, f"[record]\ncrp = {{ unit = 'mg/L', usual = {stated} }}")

    assert told.startswith("settings.toml: 'usual' in [record.crp]: is no range: give a number and a greater one")


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        (RunConfig, "[training]\nlearning_rat = 1", "'learning_rat' in [training]. Did you mean 'learning_rate'?"),
        (RunConfig, "[trainin]\nepochs = 1", "'trainin'. Did you mean 'training'?"),
        (RunConfig, "[split]\nx = 1", "'x' in [split]. Known here: folds, test, validation."),
        (CohortConfig, "studdy = 'x'", "'studdy'. Did you mean 'study'?"),
        (CohortConfig, "[labels]\ncolums = ['a']", "'colums' in [labels]. Did you mean 'columns'?"),
        (CohortConfig, "[record]\nage = {unit = 'a', hihg = 9}", "'hihg' in [record.age]. Did you mean 'high'?"),
        (
            CohortConfig,
            "[record]\nsex = {categoris = ['F', 'M']}",
            "'categoris' in [record.sex]. Did you mean 'categories'?",
        ),
    ],
)
def test_an_unknown_key_is_refused_and_names_its_neighbour(
    tmp_path: Path, kind: type[Dials], text: str, told: str
) -> None:
    assert refusal(tmp_path, kind, text) == f"settings.toml: unknown key {told}"


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        (RunConfig, "[training]\nepochs = 0", "'epochs' in [training]: Input should be greater than or equal to 1"),
        (
            RunConfig,
            "[fusion]\nkind = 'late'",
            "'kind' in [fusion]: Input should be 'concat', 'weighted_sum', 'product', 'gated' or 'cross_attention'",
        ),
        (RunConfig, "[split]\ntest = 0.5", "'test' in [split]: Input should be less than 0.5"),
        (CohortConfig, "[record]\nage = {low = 0}", "'unit' in [record.age]: Field required"),
        (CohortConfig, "[record]\nsex = {categories = ['F']}", "'categories' in [record.sex]: Tuple should have"),
        (CohortConfig, "[record]\nage = 3", "'age' in [record]: Input should be a valid dictionary"),
        (CohortConfig, "[labels]\nclasses = ['a', 'b']", "'labels': give either 'columns' (multi-label) or"),
        (CohortConfig, "[labels]\nclass_column = 'a'\nclasses = ['b']", "'labels': 'class_column' needs 'classes'"),
        (CohortConfig, "[labels]\ncolumns = ['a']\nclass_column = 'b'", "'labels': give either"),
    ],
)
def test_a_value_out_of_range_is_refused(tmp_path: Path, kind: type[Dials], text: str, told: str) -> None:
    assert refusal(tmp_path, kind, text).startswith(f"settings.toml: {told}")


@pytest.mark.parametrize("text", ["x =", "[a\n", "a = 1\na = 2"])
def test_what_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    assert "settings.toml is not TOML: " in refusal(tmp_path, RunConfig, text)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match="not TOML"):
        read_toml(tmp_path / "run.toml", RunConfig)


@pytest.mark.parametrize(("name", "words"), [("nothing.toml", "is not there"), ("", "cannot be read")])
def test_what_cannot_be_opened_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_toml(tmp_path / name, RunConfig)


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeff[training]\nseed = 7\n")

    assert read_toml(path, RunConfig).training.seed == 7


def test_a_dial_cannot_be_turned_after_it_was_read() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().training.epochs = 3  # type: ignore[misc]  # that is the point


def test_labels_have_names_of_either_kind() -> None:
    several, one = LabelColumns(columns=("a", "b")), LabelColumns(class_column="c", classes=("x", "y", "z"))

    assert (several.names, several.multi_class) == (("a", "b"), False)
    assert (one.names, one.multi_class) == (("x", "y", "z"), True)


def test_the_examples_of_the_readme_are_read(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    cohort, run = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "cohort.toml").write_text(cohort, encoding="utf-8")
    (tmp_path / "run.toml").write_text(run, encoding="utf-8")

    assert read_toml(tmp_path / "cohort.toml", CohortConfig).images[1].at_most == 1
    assert read_toml(tmp_path / "run.toml", RunConfig).training.seed == 1
