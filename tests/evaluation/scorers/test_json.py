import json

import pytest
from pydantic import JsonValue

from evaluation.errors import CaseError
from evaluation.sandbox.process import Sandbox
from evaluation.scorers.json_fields import JsonFields
from evaluation.scorers.json_schema import JsonSchema
from evaluation.scorers.json_text import unfenced
from evaluation.scorers.json_valid import JsonValid
from tests.evaluation.scorers.answers import make_answer, make_case, value

SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"queue": {"enum": ["billing", "returns"]}, "lines": {"type": "integer"}},
    "required": ["queue"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"a": 1}', 1.0),
        (" [1, 2]\n", 1.0),
        ("null", 1.0),
        ("", 0.0),
        ("{'a': 1}", 0.0),
        ('{"a": 1} and more', 0.0),
        ('{"a": NaN}', 0.0),
        ('{"a": 1,}', 0.0),
        ("[" * 100_000, 0.0),
        ('```json\n{"a": 1}\n```', 0.0),
    ],
)
def test_valid_json_is_the_whole_text(text: str, valid: float) -> None:
    assert value(JsonValid(), text) == valid


def test_a_code_block_is_taken_off_when_asked() -> None:
    assert value(JsonValid(fenced=True), '\n```json\n{"a": 1}\n```\n') == 1.0
    assert value(JsonValid(fenced=True), 'Here:\n```json\n{"a": 1}\n```') == 0.0
    assert unfenced("```sql\nSELECT 1\n```") == "SELECT 1"
    assert unfenced("```\na\n``` and ```\nb\n```") == "```\na\n``` and ```\nb\n```"


@pytest.mark.parametrize(
    ("text", "meets"),
    [
        ('{"queue": "billing", "lines": 2}', 1.0),
        ('{"queue": "sales"}', 0.0),
        ('{"lines": 2}', 0.0),
        ('{"queue": "billing", "x": 1}', 0.0),
        ("billing", 0.0),
    ],
)
def test_a_schema_is_met_or_not(text: str, meets: float) -> None:
    assert value(JsonSchema(schema=SCHEMA), text) == meets
    assert value(JsonSchema(), text, fields={"schema": SCHEMA}) == meets


def test_why_a_schema_is_not_met_is_told() -> None:
    scorer = JsonSchema(schema=SCHEMA)
    score = scorer.score(make_answer('{"queue": "sales"}', make_case()))
    assert score.details == {"schema_error": "$.queue: 'sales' is not one of ['billing', 'returns']"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "case 4 has no schema"),
        ({"schema": "object"}, "case 4 has no schema"),
        ({"schema": {"type": "thing"}}, "cannot be used"),
        ({"schema": {"$ref": "https://example.com/schema.json"}}, "a reference leads nowhere"),
        ({"schema": {"$ref": "#/$defs/none"}}, "a reference leads nowhere"),
        ({"schema": {"$ref": "#"}}, "cannot be used"),
    ],
)
def test_a_case_without_a_usable_schema_is_refused(fields: dict[str, object], told: str) -> None:
    with pytest.raises(CaseError, match=told):
        value(JsonSchema(), "{}", index=4, fields=fields)


def test_a_schema_that_takes_for_ever_scores_0_and_the_next_answer_is_measured() -> None:
    slow = {"properties": {"a": {"pattern": "^(a+)+$"}}}
    text = json.dumps({"a": "a" * 60 + "b"})
    scorer = JsonSchema()
    assert scorer.score(make_answer(text, make_case(fields={"schema": slow}))).details == {
        "schema_error": "it takes too long"
    }
    assert value(scorer, '{"queue": "billing"}', fields={"schema": SCHEMA}) == 1.0


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ('{"queue": "billing", "lines": 1, "who": {"name": "Ada", "tags": [1, 2]}}', 1.0),
        ('{"queue": "billing", "lines": 1.0, "who": {"name": "Ada", "tags": [1, 2]}, "more": 1}', 1.0),
        ('{"queue": "billing", "lines": true, "who": {"name": "Ada", "tags": [2, 1]}}', 0.5),
        ('{"queue": "billing", "who": "Ada"}', 0.25),
        ('{"queue": null}', 0.0),
        ("[]", 0.0),
        ("billing", 0.0),
    ],
)
def test_expected_fields_are_counted_one_by_one(text: str, share: float) -> None:
    expected = '{"queue": "billing", "lines": 1, "who": {"name": "Ada", "tags": [1, 2]}}'
    assert value(JsonFields(), text, expected) == share


def test_the_fields_that_are_named_count_alone() -> None:
    scorer = JsonFields(fields=("a",))
    assert value(scorer, '{"a": 1, "b": 3}', '{"a": 1, "b": 2}') == 1.0
    with pytest.raises(CaseError, match="case 2: its completion has no field 'a'"):
        value(scorer, "{}", '{"b": 2}', index=2)


@pytest.mark.parametrize("reference", ["billing", "[]", "{}", ""])
def test_a_completion_that_is_no_object_is_refused(reference: str) -> None:
    with pytest.raises(CaseError, match="case 5: its completion"):
        value(JsonFields(), "{}", reference, index=5)


def test_a_schema_that_needs_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sandbox, "ask", lambda *_: {"error": "it needs too much memory"})
    with pytest.raises(CaseError, match="its schema cannot be used: it needs too much memory"):
        JsonSchema(schema={}).check(make_case())
