"""`lorad.json`: what an adapter was made for, with and from."""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from adapters.errors import InvalidAdapterError
from adapters.files import MANIFEST, MAX_JSON_BYTES, parse_object, read_bytes

ASSUMED: Final = "assumed"
"""Base digest of an adapter made elsewhere: only its shapes were compared."""

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
TokenId = Annotated[int, Field(ge=0, lt=1 << 31)]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, Field(max_length=256 * 1024)]
TokenIds = Annotated[tuple[TokenId, ...], Field(max_length=65_536)]


class _Part(BaseModel):
    # Tuples arrive as JSON lists, so not strict; unknown keys are refused because a digest covers them.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BaseIdentity(_Part):
    """The base that the adapter was trained on."""

    name: Name
    digest: Digest | Literal["assumed"]


class RenderingIdentity(_Part):
    """How prompts were rendered in training; serving must render the same."""

    kind: Literal["chat", "plain"]
    template_text: Text
    default_system: Text | None = None
    end_of_turn_ids: TokenIds = ()


class GoldenLogits(_Part):
    """The largest logits after a canary prompt, computed by the trainer, so that a loaded copy can be compared."""

    prompt_ids: TokenIds
    top_ids: TokenIds
    top_logits: Annotated[tuple[float, ...], Field(max_length=65_536)]
    quantization: str = Field(max_length=32)
    dtype: str = Field(max_length=32)


class DataIdentity(_Part):
    """What the adapter was trained and tested on."""

    digest: Digest
    rows: int = Field(ge=0)
    test_digest: Digest | None = None
    test_rows: int | None = Field(default=None, ge=0)


class Manifest(_Part):
    """The whole of `lorad.json`. Its bytes are part of the adapter's digest."""

    format: Literal[1] = 1
    base: BaseIdentity
    rendering: RenderingIdentity | None = None
    golden: GoldenLogits | None = None
    data: DataIdentity | None = None
    training: dict[str, JsonValue] = Field(default_factory=dict)
    """The configuration that training ran with."""
    metrics: dict[str, float] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the libraries that trained it."""
    identity: bool = False
    """The weights change nothing: every B (or every A) is zero."""

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "Manifest":
        """Check the content of a parsed `lorad.json`.

        Raises:
            InvalidAdapterError: names the field that does not fit.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part)[:60] for part in first["loc"])
            raise InvalidAdapterError(f"{MANIFEST}: {where}: {first['msg']}") from error

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read a folder's `lorad.json`.

        Raises:
            InvalidAdapterError: it is missing, larger than 1 MiB, not JSON, or does not fit.
        """
        return cls.parse(parse_object(read_bytes(folder / MANIFEST, MAX_JSON_BYTES), MANIFEST))

    def write(self, folder: Path) -> None:
        """Write `lorad.json` in canonical form: sorted keys, no spaces, ASCII, one newline at the end.

        Raises:
            InvalidAdapterError: it would be larger than 1 MiB, or holds a number that JSON cannot express.
        """
        try:
            text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
        except ValueError as error:
            raise InvalidAdapterError(f"{MANIFEST}: {error}") from error
        if len(text) >= MAX_JSON_BYTES:
            raise InvalidAdapterError(f"{MANIFEST} would have {len(text) + 1} bytes, the limit is {MAX_JSON_BYTES}")
        (folder / MANIFEST).write_text(text + "\n", encoding="ascii")
