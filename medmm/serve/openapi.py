"""What OpenAPI says of the two forms that the service takes, and of what it answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from medmm.config import CohortConfig, NumberColumn
from medmm.serve.bundle import TABLE
from medmm.serve.problem import documented
from medmm.serve.upload import FILES, NOTE, PRIOR, RECORD

_BINARY = {"type": "string", "format": "binary"}


def case_form(config: CohortConfig) -> dict[str, Any]:
    """A request with one case, with the columns of the record that the model knows."""
    properties = {
        FILES: {
            "type": "array",
            "items": _BINARY,
            "minItems": 1,
            "description": "The images of one study: DICOM, PNG or JPEG files, or one zip archive of them.",
        },
        PRIOR: {
            "type": "array",
            "items": _BINARY,
            "description": "As files, of an earlier study of the same patient.",
        },
        NOTE: {"type": "string", "description": "Free text, UTF-8, at most 1 MiB."},
        RECORD: {
            "type": "object",
            "additionalProperties": False,
            "properties": _columns(config),
            "description": "What was not taken is null or left out.",
        },
    }
    needed = [{"required": [name]} for name in (FILES, NOTE, RECORD)]
    return _form({"properties": properties, "anyOf": needed}, encoding={RECORD: {"contentType": "application/json"}})


def bundle_form(most: int) -> dict[str, Any]:
    """A request with several cases, `most` at most."""
    told = f"At most {most} studies: one zip archive of them, with {TABLE} or without; their files; or an archive each."
    files = {"type": "array", "items": _BINARY, "minItems": 1, "description": told}
    return _form({"properties": {FILES: files}, "required": [FILES]})


def _form(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    form = {"schema": {"type": "object", "additionalProperties": False, **schema}, **more}
    return {"required": True, "content": {"multipart/form-data": form}}


def _columns(config: CohortConfig) -> dict[str, Any]:
    """The columns of the record as JSON Schema."""
    properties: dict[str, Any] = {}
    for name, column in config.record.items():
        if isinstance(column, NumberColumn):
            bounds = {"minimum": column.low, "maximum": column.high}
            known = {key: bound for key, bound in bounds.items() if bound is not None}
            properties[name] = {"type": ["number", "null"], **known, "description": f"In '{column.unit}' (UCUM)."}
        else:
            properties[name] = {"enum": [*column.categories, None]}
        if column.taken:
            properties[column.taken] = {"type": ["string", "null"], "description": f"When {name} was taken (ISO 8601)."}
    return properties


def answers(fhir: str, dicom: str) -> dict[int | str, dict[str, Any]]:
    """Every answer but the JSON of the route's own model.

    Args:
        fhir: what the FHIR resource is.
        dicom: media type of what holds DICOM SR.
    """
    content = {
        "application/fhir+json": {"schema": {"type": "object", "description": fhir}},
        dicom: {"schema": _BINARY},
    }
    return {200: {"content": content}, **_PROBLEMS}


_PROBLEMS = documented(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.NOT_ACCEPTABLE,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
