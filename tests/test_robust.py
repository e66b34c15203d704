"""Files that are broken on purpose cost themselves and nothing else: each is answered, and nothing is written."""

from pathlib import Path

import pytest

from benchmarks.robustness import answered, bombs, mutations

BOMBS = {
    "wide.dcm": {"too-large", "corrupt"},
    "frames.dcm": {"too-large", "corrupt"},
    "wide-compressed.dcm": {"too-large"},
    "deflate.dcm": {"too-large"},
    "nested.dcm": {"corrupt"},
    "uid.dcm": {"read"},  # a UID that looks like a path is a UID like another: no path is made of it
    "outside.zip": {"outside"},
    "giant.zip": {"too-large"},
    "length.dcm": {"corrupt"},
    "nothing.dcm": {"not-dicom", "empty-study"},
    "noise.dcm": {"not-dicom"},
}


def test_every_bomb_is_answered_with_its_code_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "inside" / "studies"
    folder.mkdir(parents=True)
    (tmp_path / "temporary").mkdir()
    for name, content in bombs().items():
        (folder / name).write_bytes(content)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    before = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}

    found = {one.name: one.code for one in answered(folder, workers=1)}

    assert {name: code in BOMBS[name] for name, code in found.items()} == dict.fromkeys(BOMBS, True), found
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*")} == before


def test_mutated_files_are_all_answered_in_order(tmp_path: Path) -> None:
    for name, content in mutations(seed=1, count=150):
        (tmp_path / name).write_bytes(content)
    names = sorted(path.name for path in tmp_path.iterdir())

    found = list(answered(tmp_path, workers=1))

    assert [one.name for one in found] == names
    assert len({one.code for one in found}) > 3  # the mutations reach more than one kind of refusal
    assert "timeout" not in {one.code for one in found}
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_a_seed_gives_the_same_mutations() -> None:
    assert list(mutations(seed=2, count=5)) == list(mutations(seed=2, count=5))
    assert list(mutations(seed=2, count=5)) != list(mutations(seed=3, count=5))
