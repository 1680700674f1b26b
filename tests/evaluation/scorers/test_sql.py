import pytest

from evaluation.errors import CaseError, UnknownScorerError
from evaluation.scorers.sql import Sql, orders
from tests.evaluation.scorers.answers import make_answer, make_case, value

SETUP = "CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'x');"


@pytest.fixture(scope="module")
def sql() -> Sql:
    return Sql(setup_sql=SETUP)


@pytest.mark.parametrize(
    ("query", "reference", "right"),
    [
        ("SELECT COUNT(*) FROM t WHERE b = 'x'", "SELECT 2", 1.0),
        ("```sql\nSELECT 2;\n```", "SELECT 2", 1.0),
        ("SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t", 1.0),
        ("SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t ORDER BY a", 0.0),
        ("SELECT a FROM t", "SELECT a FROM (SELECT a FROM t ORDER BY a DESC)", 1.0),
        ("SELECT nothing FROM t", "SELECT 2", 0.0),
        ("The answer is 2.", "SELECT 2", 0.0),
        ("", "SELECT 2", 0.0),
        ("DROP TABLE t", "SELECT 2", 0.0),
    ],
)
def test_a_query_is_right_if_it_gives_the_rows(sql: Sql, query: str, reference: str, right: float) -> None:
    assert value(sql, query, reference) == right


def test_why_a_query_fails_is_told(sql: Sql) -> None:
    assert sql.score(make_answer("SELECT c FROM t", make_case("SELECT 1"))).details == {
        "sql_error": "no such column: c"
    }
    assert sql.score(make_answer(" ", make_case("SELECT 1"))).details == {"sql_error": "there is no query"}


@pytest.mark.parametrize(("reference", "setup"), [("SELECT c FROM t", SETUP), ("SELECT 1", "CREATE TABLE (")])
def test_no_answer_pays_for_what_fails_of_the_case_itself(reference: str, setup: str) -> None:
    score = Sql(setup_sql=setup).score(make_answer("SELECT 1", make_case(reference)))
    assert score.values == {"sql": None}
    assert str(score.error).startswith("the case's own SQL fails: ")


def test_a_cases_own_database_comes_first(sql: Sql) -> None:
    fields = {"setup_sql": "CREATE TABLE u (z); INSERT INTO u VALUES (9);"}
    assert value(sql, "SELECT 9", "SELECT z FROM u", fields=fields) == 1.0


@pytest.mark.parametrize(
    ("reference", "setup", "told"),
    [
        ("SELECT 1", None, "case 8 has no database"),
        ("", SETUP, "case 8 has no completion"),
        ("SELECT c FROM t", SETUP, "case 8: the query in its completion fails: no such column: c"),
        ("SELECT 1", "CREATE TABLE (", "case 8: its setup_sql fails"),
        ("SELECT 1", "ATTACH ':memory:' AS x", "case 8: its setup_sql fails: not authorized"),
    ],
)
def test_a_case_that_cannot_be_measured_is_refused(reference: str, setup: str | None, told: str) -> None:
    with pytest.raises(CaseError, match=told):
        value(Sql(setup_sql=setup), "SELECT 1", reference, index=8)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 31.0, float("nan")])
def test_seconds_have_bounds(seconds: float) -> None:
    with pytest.raises(UnknownScorerError, match="seconds"):
        Sql(seconds=seconds)


@pytest.mark.parametrize(
    ("query", "sorts"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("select a from t order\n  by a limit 3", True),
        ("SELECT a FROM t", False),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a LIMIT 2)", False),
        ("SELECT ROW_NUMBER() OVER (ORDER BY (a + 1)) FROM t", False),
        ("SELECT 'ORDER BY' FROM t -- ORDER BY a", False),
        ('SELECT "order by", [order by] /* ORDER BY */ FROM t', False),
        ("SELECT 'it''s (' FROM t ORDER BY a", True),
        ("WITH u AS (SELECT 1) SELECT * FROM u ORDER BY 1", True),
    ],
)
def test_the_outermost_query_sorts_or_not(query: str, sorts: bool) -> None:
    assert orders(query) is sorts
