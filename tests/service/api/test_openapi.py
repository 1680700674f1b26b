"""The document tells the truth: an example at every body, each of which the server would take or give."""

import importlib
import pkgutil
import re
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from service.api import routes
from service.api.app import create_app
from service.api.openapi import EXAMPLES
from service.settings import Settings

APP = create_app(Settings())
DOCUMENT = APP.openapi()
OPERATIONS = [
    pytest.param(operation, id=f"{method} {path}")
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
ROUTES = {
    (method.lower(), re.sub(":path", "", route.path)): route
    for module in pkgutil.iter_modules(routes.__path__)
    for route in importlib.import_module(f"{routes.__name__}.{module.name}").router.routes
    if isinstance(route, APIRoute)
    for method in route.methods or ()
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_body_has_an_example(operation: dict[str, Any]) -> None:
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    bodies += [response for status, response in operation["responses"].items() if status.startswith("2")]
    for body in bodies:
        for kind, media in body.get("content", {}).items():
            assert "example" in media, kind


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_route_says_what_it_does_and_what_an_error_looks_like(operation: dict[str, Any]) -> None:
    assert operation["description"]
    error = operation["responses"]["default"]["content"]["application/json"]["schema"]
    assert error == {"$ref": "#/components/schemas/ErrorReply"}
    assert "422" not in operation["responses"]
    assert DOCUMENT["components"]["schemas"]["ErrorReply"]["examples"]


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
def test_examples_are_what_the_route_takes_and_gives(method: str, path: str) -> None:
    route = ROUTES[method, path]
    example = EXAMPLES[method, path]
    if example.response is not None and route.response_model is not None:
        given = TypeAdapter(route.response_model).validate_python(example.response)
        shown = TypeAdapter(route.response_model).dump_python(given, mode="json")
        assert shown == {**shown, **example.response}
    for body in route.dependant.body_params:
        assert body.field_info.annotation is not None
        TypeAdapter(body.field_info.annotation).validate_python(example.request)


def test_there_is_an_example_for_each_route_and_none_beside() -> None:
    assert set(EXAMPLES) == set(ROUTES)
