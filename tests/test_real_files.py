"""What the documentation says of the real files of the pydicom wheels is what happens."""

from pathlib import Path

import pytest

from benchmarks.real_files import packages, rows, table

DOCUMENTED = Path(__file__).parents[1] / "docs" / "dicom_files.md"


@pytest.mark.skipif("pydicom-data" not in packages(), reason="the wheel pydicom-data is not installed")
def test_every_real_file_reads_to_pydicoms_values_or_is_refused_as_documented() -> None:
    found = list(rows())

    assert [f"{row.name}: {row.answer}" for row in found if row.answer.startswith("DIFFERENT")] == []
    assert table(found) in DOCUMENTED.read_text(encoding="utf-8")
