import json
from typing import Any

import pytest

from service.engine.errors import InvalidGrammarError
from service.engine.sampling.schema import check_schema

STRING = {"type": "string"}
OBJECT: dict[str, Any] = {"type": "object", "properties": {"a": STRING}}


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"not": STRING}, "'not'"),
        ({"type": "array", "uniqueItems": True}, "'uniqueItems'"),
        ({"type": "array", "contains": STRING}, "'contains'"),
        ({**OBJECT, "if": {}, "then": {}}, "'if'"),
        ({**OBJECT, "dependentRequired": {}}, "'dependentRequired'"),
        ({"allOf": [STRING, {"type": "string", "maxLength": 3}]}, "'allOf'"),
        ({**OBJECT, "anyOf": [{"required": ["a"]}]}, "beside 'anyOf'"),
        ({"$ref": "#/$defs/a", "maxLength": 3, "$defs": {"a": STRING}}, "'maxLength' beside '$ref'"),
        ({"$ref": "http://example.org/schema"}, "leads outside"),
        ({"minimum": 3}, "'minimum' without a 'type'"),
        ({**STRING, "pattern": "a", "maxLength": 3}, "'pattern' beside a length"),
        ({**OBJECT, "required": ["b"]}, "requires 'b'"),
        ({"type": "object", "required": ["b"]}, "requires 'b'"),
        ({"type": "array", "items": {"anyOf": [STRING, {"not": {}}]}}, "'not'"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "'not'"),
        ({"$defs": {"a": {"prefixItems": [{"not": {}}]}}}, "'not'"),
    ],
)
def test_what_would_not_be_enforced_is_refused_by_name(schema: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidGrammarError) as caught:
        check_schema(json.dumps(schema), 64)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        OBJECT,
        {"type": "object", "properties": {"not": STRING, "if": STRING, "minimum": STRING}, "required": ["not"]},
        {"enum": [{"not": 1}, "if"]},
        {"const": {"contains": {}}, "default": {"not": 1}},
        {"allOf": [{"$ref": "#/$defs/a"}], "title": "A", "$defs": {"a": STRING}},
        {"$ref": "#", "description": "itself"},
        {**OBJECT, "required": ["b"], "additionalProperties": True},
        {"type": "array", "uniqueItems": False},
        {"anyOf": [STRING, {"type": "null"}], "default": None},
        {"type": "integer", "minimum": 0, "multipleOf": 5},
    ],
)
def test_what_is_enforced_passes(schema: Any) -> None:
    check_schema(json.dumps(schema), 64)


@pytest.mark.parametrize(("levels", "passes"), [(5, True), (6, False)])
def test_depth_is_bounded(levels: int, passes: bool) -> None:
    text = '{"items": ' * (levels - 1) + "{}" + "}" * (levels - 1)
    if passes:
        check_schema(text, 5)
    else:
        with pytest.raises(InvalidGrammarError, match="deeper than 5 levels"):
            check_schema(text, 5)
