"""Pages that need nothing else: one file, no script, no address of another machine; whatever is not ours is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medmm.judge import words


def render(template: str, **values: Any) -> str:
    """Return the page that a template of this folder makes of `values`.

    Args:
        template: name of the file.
        values: every name that the template asks for; one that is missing is an error.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=words.minus, joined=words.joined, counted=words.counted, known=np.isfinite, verdict=words.verdict
    )
    return environment.get_template(template).render(**values)
