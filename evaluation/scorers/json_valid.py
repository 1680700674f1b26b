"""Whether an answer is JSON."""

from dataclasses import dataclass

from evaluation.scorers.json_text import read_json
from evaluation.scorers.scorer import Answer, MeanScorer, Score


@dataclass(frozen=True)
class JsonValid(MeanScorer):
    """Whether the whole answer is JSON.

    Args:
        fenced: whether it may stand in a Markdown code block.
    """

    fenced: bool = False
    metrics = ("json_valid",)

    def score(self, answer: Answer) -> Score:
        """See `Scorer`."""
        try:
            read_json(answer.text, self.fenced)
        except ValueError as error:
            return Score(values={"json_valid": 0.0}, details={"json_error": str(error)})
        return Score(values={"json_valid": 1.0})
