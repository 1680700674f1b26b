"""The query of `GET /v1/adapters`."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from adapters.search import MAX_CONDITIONS, MAX_TEXT_CHARS, MetricCondition, Search

_Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS)]
_Texts = Annotated[list[_Text], Field(default_factory=list, max_length=MAX_CONDITIONS)]


class SearchQuery(BaseModel):
    """Conditions that one and the same ready version fulfils, and which page of the adapters is wanted."""

    # Not strict as a body is: everything in a query is text.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    tag: _Texts
    """`key` or `key=value`; may be given several times."""
    base: _Text | None = None
    """Name or digest of the base."""
    text: _Text | None = None
    """A part of the adapter's name or of a tag."""
    metric: _Texts
    """For example `valid_loss<1.2`; may be given several times."""
    job: _Text | None = None
    """The finetuning job that made it."""
    data: _Text | None = None
    """Digest of the rows it was trained on."""
    limit: int = Field(default=1000, ge=1, le=1000)
    after: _Text | None = None
    """Name of the last adapter of the page before."""

    @property
    def search(self) -> Search:
        """For the registry.

        Raises:
            InvalidSearchError: a condition is not well formed.
        """
        return Search(
            tags=tuple(self.tag),
            base=self.base,
            text=self.text,
            metrics=tuple(MetricCondition.parse(text) for text in self.metric),
            job_id=self.job,
            data_digest=self.data,
        )
