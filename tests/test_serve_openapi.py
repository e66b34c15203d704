"""The service does what its OpenAPI document says; a file of its own, since that takes as long as all else of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from medmm.config import EncoderConfig, RunConfig
from tests.models import fusion, random_model
from tests.services import TOKEN, serving


def test_the_service_does_what_its_openapi_says(tmp_path: Path) -> None:
    """Schemathesis makes up requests, right and wrong ones, and holds each answer against the document.

    No schema says that bytes are DICOM, so that what fits the schema may be answered 422.
    """
    model = random_model(RunConfig(encoders=EncoderConfig(image_size=64), fusion=fusion("cross_attention")))
    accepted = '[checks.positive_data_acceptance]\nexpected-statuses = ["2xx", 422]\n'
    (tmp_path / "schemathesis.toml").write_text(accepted)
    with serving(model, tmp_path / "spool") as service:
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{service.url}/openapi.json",
            f"--header=Authorization: Bearer {TOKEN}",
            "--max-examples=15",
            "--request-timeout=60",
            "--seed=0",
            "--no-color",
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    assert done.returncode == 0, done.stdout[-4000:]
    assert "No issues found" in done.stdout
