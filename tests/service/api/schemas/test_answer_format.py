import json
from typing import Any

import pytest
from pydantic import ValidationError

from service.api.schemas.answer_format import MAX_GRAMMAR_CHARS, ResponseFormat, StructuredOutputs
from service.engine.request import Grammar

PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def nested(levels: int) -> Any:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def by_schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def test_text_asks_for_nothing() -> None:
    assert ResponseFormat.model_validate({"type": "text"}).grammar is None


def test_json_object_is_any_object() -> None:
    assert ResponseFormat.model_validate({"type": "json_object"}).grammar == Grammar("json_object")


def test_a_schema_is_handed_over_as_it_came() -> None:
    grammar = ResponseFormat.model_validate(by_schema(PERSON)).grammar
    assert grammar is not None
    assert (grammar.kind, json.loads(grammar.text)) == ("json_schema", PERSON)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"type": "xml"}, ("type",)),
        ({"type": "json_schema"}, ()),
        ({"type": "json_object", "json_schema": {"name": "x", "schema": {}}}, ()),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, ("json_schema", "schema")),
        ({"type": "json_schema", "json_schema": {"name": "two words", "schema": {}}}, ("json_schema", "name")),
        (by_schema("text"), ("json_schema", "schema")),
        (by_schema({"minimum": float("nan")}), ("json_schema", "schema")),
        (by_schema({"title": "\ud800"}), ("json_schema", "schema")),
        (by_schema(nested(70)), ("json_schema", "schema")),
        (by_schema({"enum": ["x" * MAX_GRAMMAR_CHARS]}), ("json_schema", "schema")),
    ],
    ids=lambda value: str(value)[:60].encode("ascii", "replace").decode(),
)
def test_what_is_no_format_is_named(body: Any, where: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        ResponseFormat.model_validate(body)
    assert caught.value.errors()[0]["loc"] == where


def test_a_schema_may_nest() -> None:
    assert ResponseFormat.model_validate(by_schema(nested(60))).grammar is not None


@pytest.mark.parametrize(
    ("body", "grammar"),
    [
        ({"regex": "[0-9]+"}, Grammar("regex", "[0-9]+")),
        ({"choice": ["yes", "né"]}, Grammar("choice", '["yes", "né"]')),
        ({"grammar": 'root ::= "a"'}, Grammar("ebnf", 'root ::= "a"')),
        ({"json": {"type": "string"}}, Grammar("json_schema", '{"type": "string"}')),
        ({"json": '{"type": "string"}'}, Grammar("json_schema", '{"type": "string"}')),
        ({"json_object": True}, Grammar("json_object")),
        ({"json_object": False, "regex": "a", "json": None}, Grammar("regex", "a")),
    ],
)
def test_vllms_forms_are_understood(body: dict[str, Any], grammar: Grammar) -> None:
    assert StructuredOutputs.model_validate(body).to_grammar == grammar


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"json_object": False},
        {"regex": "a", "choice": ["a"]},
        {"regex": ""},
        {"regex": "\ud800"},
        {"choice": []},
        {"choice": [""]},
        {"choice": ["a"] * 1025},
        {"json": 5},
        {"grammar": 5},
        {"whitespace_pattern": "x"},
    ],
)
def test_what_is_no_structure_is_refused(body: Any) -> None:
    with pytest.raises(ValidationError):
        StructuredOutputs.model_validate(body)
