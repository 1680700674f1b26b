"""Whether an answer is JSON that meets a schema."""

import json
from collections.abc import Mapping

from pydantic import JsonValue

from evaluation.cases import Case
from evaluation.errors import CaseError
from evaluation.sandbox.process import Sandbox, SandboxError
from evaluation.scorers.json_text import read_json
from evaluation.scorers.scorer import Answer, MeanScorer, Score

_SECONDS = 2.0


class JsonSchema(MeanScorer):
    """Whether the whole answer is JSON that meets a JSON Schema (draft 2020-12 unless `$schema` names another).

    `format` is not checked, and references lead nowhere outside the schema.

    Args:
        schema: for cases without `schema` in their fields.
        fenced: whether the JSON may stand in a Markdown code block.
    """

    metrics = ("json_schema",)

    def __init__(self, *, schema: Mapping[str, JsonValue] | None = None, fenced: bool = False) -> None:
        self._schema = schema
        self._fenced = fenced
        self._sandbox = Sandbox("evaluation.sandbox.schema", _SECONDS)
        self._checked: set[str] = set()

    def check(self, case: Case) -> None:
        """See `Scorer`."""
        if not isinstance(case.fields.get("schema", self._schema), Mapping):
            raise CaseError(
                f"case {case.index} has no schema; give `schema` in its fields or to the scorer 'json_schema', as a "
                "JSON object."
            )
        schema = self._text(case)
        if schema in self._checked:
            return
        try:
            reply = self._sandbox.ask({"schema": schema})
        except SandboxError as error:
            reply = {"error": str(error)}
        reason = reply.get("schema_error", reply.get("error"))
        if reason is not None:
            raise CaseError(f"case {case.index}: its schema cannot be used: {reason}; correct `schema`.")
        self._checked.add(schema)

    def score(self, answer: Answer) -> Score:
        """See `Scorer`."""
        try:
            value = read_json(answer.text, self._fenced)
        except ValueError as error:
            return Score(values={"json_schema": 0.0}, details={"json_error": str(error)})
        try:
            reply = self._sandbox.ask({"schema": self._text(answer.case), "value": value})
        except SandboxError as error:
            reply = {"error": str(error)}
        reason = reply.get("error", reply.get("schema_error"))
        if reason is not None:
            return Score(values={"json_schema": 0.0}, details={"schema_error": reason})
        return Score(values={"json_schema": 1.0})

    def _text(self, case: Case) -> str:
        return json.dumps(case.fields.get("schema", self._schema))
