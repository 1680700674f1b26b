"""Whether a query gives the rows that the right query gives (execution accuracy)."""

import re

from evaluation.cases import Case
from evaluation.errors import CaseError, UnknownScorerError
from evaluation.sandbox.database import SETUP_SECONDS
from evaluation.sandbox.process import Sandbox, SandboxError
from evaluation.scorers.json_text import unfenced
from evaluation.scorers.scorer import Answer, MeanScorer, Score

_MAX_SECONDS = 30.0
_GRACE_SECONDS = 2.0
"""What SQLite does not end by itself in time is killed after this."""
_HIDDEN = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_INNERMOST = re.compile(r"\([^()]*\)")
_ORDER = re.compile(r"\border\s+by\b", re.IGNORECASE)


class Sql(MeanScorer):
    """Runs the answer and the case's completion on a database in memory, and compares what they give.

    Columns count by their order, not by their names; rows in any order, unless the right query sorts them. Real numbers
    are equal to nine digits. A code block around the answer is taken off. An answer that cannot be run scores 0.

    Args:
        setup_sql: makes the database, for cases without `setup_sql` in their fields.
        seconds: for each query.
    """

    metrics = ("sql",)

    def __init__(self, *, setup_sql: str | None = None, seconds: float = 5.0) -> None:
        if not 0 < seconds <= _MAX_SECONDS:
            raise UnknownScorerError(
                f"The scorer 'sql': seconds is {seconds}; it must be above 0 and at most {_MAX_SECONDS:g}."
            )
        self._setup_sql = setup_sql
        self._seconds = seconds
        self._sandbox = Sandbox("evaluation.sandbox.database", SETUP_SECONDS + 2 * seconds + _GRACE_SECONDS)

    def check(self, case: Case) -> None:
        """See `Scorer`; runs the right query."""
        if not isinstance(case.fields.get("setup_sql", self._setup_sql), str):
            raise CaseError(
                f"case {case.index} has no database; give `setup_sql` in its fields or to the scorer 'sql': a script "
                "that creates and fills its tables."
            )
        if not case.reference.strip():
            raise CaseError(f"case {case.index} has no completion; give the right query there.")
        try:
            reply = self._sandbox.ask(self._request(case))
        except SandboxError as error:
            reply = {"reference_error": str(error)}
        if "setup_error" in reply:
            raise CaseError(f"case {case.index}: its setup_sql fails: {reply['setup_error']}; correct the script.")
        if reason := reply.get("reference_error", reply.get("error")):
            raise CaseError(f"case {case.index}: the query in its completion fails: {reason}; correct it.")

    def score(self, answer: Answer) -> Score:
        """See `Scorer`; where the case's own query or database fails there is an error and no value."""
        query = unfenced(answer.text).strip()
        if not query:
            return Score(values={"sql": 0.0}, details={"sql_error": "there is no query"})
        try:
            reply = self._sandbox.ask({**self._request(answer.case), "query": query})
        except SandboxError as error:
            reply = {"error": str(error)}
        if "equal" in reply:
            return Score(values={"sql": float(reply["equal"])}, details={"sql_rows": reply["num_rows"]})
        if own := reply.get("setup_error", reply.get("reference_error")):
            return Score(values={"sql": None}, error=f"the case's own SQL fails: {own}")
        return Score(values={"sql": 0.0}, details={"sql_error": reply["error"]})

    def _request(self, case: Case) -> dict[str, object]:
        return {
            "setup_sql": case.fields.get("setup_sql", self._setup_sql),
            "reference": case.reference,
            "ordered": orders(case.reference),
            "seconds": self._seconds,
        }


def orders(query: str) -> bool:
    """Whether a query sorts its rows, and not only those of a query inside it."""
    shown, before = _HIDDEN.sub(" ", query), ""
    while shown != before:
        shown, before = _INNERMOST.sub(" ", shown), shown
    return _ORDER.search(shown) is not None
