"""What an answer must look like: OpenAI's `response_format` and vLLM's `structured_outputs`."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from service.api.schemas.schema import Schema
from service.engine.request import Grammar

MAX_GRAMMAR_CHARS = 1 << 16
_MAX_NESTING = 64
_MAX_CHOICES = 1024
_NO_OBJECT = ("json_object", False)


def _schema_object(value: Any) -> str:
    """JSON of bounded depth: what compiles it recurses."""
    if not isinstance(value, dict):
        raise _refusal("must be a JSON schema, which is an object")
    if _is_deeper(value, _MAX_NESTING):
        raise _refusal(f"nests deeper than {_MAX_NESTING} levels")
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise _refusal("holds a number that JSON does not have") from error


def _schema_or_text(value: Any) -> str:
    return value if isinstance(value, str) else _schema_object(value)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _refusal("holds half a character") from error
    return text


def _is_deeper(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            child
            for each in level
            for child in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
        ]
        if not level:
            return False
    return True


def _refusal(message: str) -> PydanticCustomError:
    return PydanticCustomError("invalid_value", "{message}", {"message": message})


_Text = Annotated[str, Field(min_length=1, max_length=MAX_GRAMMAR_CHARS), AfterValidator(_encodable)]
_SchemaText = Annotated[_Text, BeforeValidator(_schema_object), WithJsonSchema({"type": "object"})]
_SchemaOrText = Annotated[_Text, BeforeValidator(_schema_or_text), WithJsonSchema({"type": ["object", "string"]})]
_Choice = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_encodable)]


class JsonSchemaFormat(Schema):
    """OpenAI's wrapper around a JSON schema."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    """For people; answers do not depend on it."""
    description: Annotated[str, Field(max_length=4096)] | None = None
    schema_: _SchemaText = Field(alias="schema")
    """What the answer is valid against; kept as JSON text."""
    strict: bool | None = None
    """Answers follow the schema either way."""


class ResponseFormat(Schema):
    """OpenAI's way to ask for JSON."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _check_schema(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise PydanticCustomError(
                "invalid_value", "this goes with type: json_schema, and only with it", {"parameter": "json_schema"}
            )
        return self

    @property
    def grammar(self) -> Grammar | None:
        """For the engine; None where any text will do."""
        if self.json_schema is not None:
            return Grammar("json_schema", self.json_schema.schema_)
        return Grammar("json_object") if self.type == "json_object" else None


class StructuredOutputs(Schema):
    """vLLM's way to ask for one form of answer; exactly one is given."""

    json_: _SchemaOrText | None = Field(default=None, alias="json")
    """A JSON schema, as an object or as text."""
    json_object: bool | None = None
    """Any JSON object."""
    regex: _Text | None = None
    """The whole answer matches it."""
    choice: Annotated[list[_Choice], Field(min_length=1, max_length=_MAX_CHOICES)] | None = None
    """The answer is one of these."""
    grammar: _Text | None = None
    """Rules in GBNF; the answer is what `root` derives."""

    @classmethod
    def known_only(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Also leaves out nulls, and `json_object: false`, which asks for nothing."""
        known = super().known_only(data)
        return {key: value for key, value in known.items() if value is not None and (key, value) != _NO_OBJECT}

    @model_validator(mode="after")
    def _check_one(self) -> "StructuredOutputs":
        if len(self.model_fields_set) != 1:
            raise PydanticCustomError("invalid_value", "give exactly one of json, json_object, regex, choice, grammar")
        return self

    @property
    def to_grammar(self) -> Grammar:
        """For the engine."""
        if self.json_ is not None:
            return Grammar("json_schema", self.json_)
        if self.regex is not None:
            return Grammar("regex", self.regex)
        if self.choice is not None:
            return Grammar("choice", json.dumps(self.choice, ensure_ascii=False))
        if self.grammar is not None:
            return Grammar("ebnf", self.grammar)
        return Grammar("json_object")
