"""The OpenAPI document: what FastAPI finds, with an example at every body."""

from typing import Any

from fastapi import FastAPI

from service.api.examples.adapters import ADAPTERS
from service.api.examples.arena import ARENA
from service.api.examples.evaluation import EVALUATION
from service.api.examples.example import Example
from service.api.examples.finetuning import FINETUNING
from service.api.examples.gates import GATES
from service.api.examples.generations import GENERATIONS
from service.api.examples.inference import INFERENCE
from service.api.schemas.errors import ErrorReply

EXAMPLES = {**INFERENCE, **EVALUATION, **ADAPTERS, **FINETUNING, **ARENA, **GATES, **GENERATIONS}
ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"model": ErrorReply, "description": "Any error; docs/reference/errors.md lists the codes."}
}
"""For every route: stands in place of FastAPI's 422, which is never sent here."""


def add_examples(app: FastAPI) -> None:
    """Let the document of `app` carry the examples."""
    plain = app.openapi

    def with_examples() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    _add(operation, EXAMPLES.get((method, path), Example()))
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = with_examples  # type: ignore[method-assign]


def _add(operation: dict[str, Any], example: Example) -> None:
    if example.request is not None:
        for media in operation["requestBody"]["content"].values():
            media["example"] = example.request
    if example.response is not None:
        for status, response in operation["responses"].items():
            media = response.get("content", {}).get("application/json")
            if status.startswith("2") and media is not None:
                media["example"] = example.response
