"""What `POST /evaluate` takes."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator
from pydantic_core import PydanticCustomError

from adapters.reference import NAME
from service.api.schemas.messages import Messages
from service.api.schemas.sampling import MaxTokens, Stop
from service.api.schemas.schema import MAX_MODELS, ModelName, Schema, Text

MAX_CASES = 10_000
_SOURCES = ("cases", "suite", "file", "dataset")

ScorerName = Annotated[str, Field(min_length=1, max_length=64)]
FileId = Annotated[str, Field(pattern="^[A-Za-z0-9-]{1,64}$")]


class ScorerBody(Schema):
    """A scorer with its parameters."""

    name: ScorerName
    params: dict[str, JsonValue] = Field(default_factory=dict)


def _scorer_kind(value: Any) -> str | None:
    return "<name>" if isinstance(value, str) else "<scorer>" if isinstance(value, dict) else None


Scorer = Annotated[
    Annotated[ScorerName, Tag("<name>")] | Annotated[ScorerBody, Tag("<scorer>")],
    Discriminator(
        _scorer_kind, custom_error_type="invalid_value", custom_error_message="must be a name or an object with a name"
    ),
]


def _suite_kind(value: Any) -> str | None:
    return "<name>" if isinstance(value, str) else "<suite>" if isinstance(value, dict) else None


Suite = Annotated[
    Annotated[str, Field(min_length=1, max_length=136), Tag("<name>")]
    | Annotated[dict[str, JsonValue], Field(min_length=1), Tag("<suite>")],
    Discriminator(
        _suite_kind, custom_error_type="invalid_value", custom_error_message="must be a name or a suite's object"
    ),
]


class CaseBody(Schema):
    """One test example."""

    prompt: Text | None = None
    """One user turn."""
    messages: Messages | None = None
    completion: Annotated[str, Field(min_length=1, max_length=1 << 20)] | None = None
    """What the model should say."""
    choices: Annotated[list[Text], Field(min_length=2, max_length=256)] = Field(default_factory=list)
    """What it may choose from, by likelihood."""
    gold: Annotated[int, Field(ge=0, lt=256)] | None = None
    """Index of the right choice."""
    fields: dict[str, JsonValue] = Field(default_factory=dict)
    """What the case's scorers read beside: a schema, a label, a set-up script."""
    tags: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=32)] = Field(
        default_factory=list
    )
    scorers: Annotated[list[Scorer], Field(min_length=1, max_length=16)] | None = None
    """In place of the request's."""

    @model_validator(mode="after")
    def _check_prompt(self) -> "CaseBody":
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError("invalid_value", "give either prompt or messages", {"parameter": "prompt"})
        return self


class EvaluateBody(Schema):
    """Models to be measured on cases, of one of four sources."""

    models: Annotated[list[ModelName | None], Field(min_length=1, max_length=MAX_MODELS)]
    """References; null is the base."""
    cases: Annotated[list[CaseBody], Field(min_length=1, max_length=MAX_CASES)] | None = None
    suite: Suite | None = None
    """`name` for the newest version of a suite, `name@sha256:…`, or a whole suite as `POST /suites` takes it."""
    file: FileId | None = None
    """Id of a file of `/v1/files`, each of whose rows is a case."""
    dataset: Annotated[str, Field(pattern=f"^{NAME.pattern}$", max_length=64)] | None = None
    """Name of a data file that the operator has put into `datasets/<tenant>` of the server's home."""
    metrics: Annotated[list[Scorer], Field(min_length=1, max_length=16)] | None = None
    """Names of scorers, or names with parameters. Default: the suite's; without a suite those that need none."""
    judge: ModelName | None = None
    """Reference of the model that judges, for the scorer `judge`; default the operator's."""
    max_tokens: MaxTokens | None = None
    """New tokens of an answer; default the suite's, else the server's."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Default the suite's, else 0."""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None
    stop: Stop | None = None
    background: bool | None = None
    """true: answer 202 with the run at once; false: wait for it. Default: wait for short ones."""

    @model_validator(mode="after")
    def _check_source(self) -> "EvaluateBody":
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "invalid_value",
                "give one of cases, suite, file and dataset",
                {"parameter": given[1] if given else "cases"},
            )
        return self
