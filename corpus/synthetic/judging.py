"""The seam to a judge: asked last, of what the sieve has let through."""

from collections.abc import Callable
from dataclasses import dataclass

from corpus.synthetic.drafts import Draft, Dropped


@dataclass(frozen=True, kw_only=True, slots=True)
class Opinion:
    """What a judge says of a row."""

    score: float | None
    """0 to 1; None where its words hold no rating, which speaks for no row."""
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Judging:
    """A judge, and how much it takes to please it."""

    name: str
    rate: Callable[[Draft], Opinion]
    """Raises where nobody answers, which ends the run and drops no row."""
    least: float
    """The least score of a row that is kept."""

    def check(self, draft: Draft) -> Opinion:
        """Let a draft through or not.

        Raises:
            Dropped: It is rated too low, or not at all.
        """
        opinion = self.rate(draft)
        if opinion.score is None:
            raise Dropped("judge", draft.record.prompt, f"no rating in {opinion.reason[:80]!r}")
        if opinion.score < self.least:
            raise Dropped("judge", draft.record.prompt, f"{opinion.score:g}: {opinion.reason[:200]}")
        return opinion
