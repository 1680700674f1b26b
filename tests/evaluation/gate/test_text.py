import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.errors import GateError
from evaluation.gate.policy import Condition, DropCondition, MetricCondition, PassCondition, Policy
from evaluation.gate.text import EXAMPLE, parse, to_text


def metric(name: str, comparison: str, to: float | str, **fields: object) -> MetricCondition:
    return MetricCondition.model_validate({"metric": name, "comparison": comparison, "to": to, **fields})


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        (EXAMPLE, (metric("exact_match", ">=", "prod"), DropCondition(margin=0.01))),
        ("promote to prod if exact_match ≥ 0.8", (metric("exact_match", ">=", 0.8),)),
        (
            "promote to prod if exact_match > prod + 2 points on tickets significantly",
            (metric("exact_match", ">", "prod", margin=0.02, suite="tickets", significant=True),),
        ),
        ("promote to prod if loss <= prod - 0.1", (metric("loss", "<=", "prod", margin=-0.1),)),
        (
            "promote to prod if exact_match > base and loss < 1e-1",
            (metric("exact_match", ">", "base"), metric("loss", "<", 0.1)),
        ),
        ("Promote to prod IF no suite drops", (DropCondition(),)),
        ("promote to prod if no suite drops significantly", (DropCondition(significant=True),)),
        (
            "promote to prod if no suite drops by more than 0.5 points in rouge_l",
            (DropCondition(margin=0.005, metric="rouge_l"),),
        ),
        ("promote to prod if every suite passes", (PassCondition(),)),
    ],
)
def test_texts(text: str, conditions: tuple[Condition, ...]) -> None:
    policy = parse(text)
    assert policy.alias == "prod"
    assert policy.conditions == conditions


def test_suites_are_named_once_or_in_conditions() -> None:
    policy = parse("promote to prod on tickets, sql-v2 if exact_match >= prod on extra and no suite drops")
    assert policy.suites == ("tickets", "sql-v2")
    assert policy.all_suites == ("tickets", "sql-v2", "extra")
    assert policy.references == ("prod",)


def test_the_alias_may_come_from_where_the_policy_is_kept() -> None:
    assert parse("promote if exact_match >= prod", "prod").alias == "prod"
    assert parse("promote if exact_match >= prod and exact_match > base", "canary").references == (
        "canary",
        "prod",
        "base",
    )
    with pytest.raises(GateError, match="promotes to 'prod', but it is a gate of 'canary'"):
        parse(EXAMPLE, "canary")
    with pytest.raises(GateError, match="names no alias"):
        parse("promote if every suite passes")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'promote' was expected, not the end"),
        ("promote to prod", "'if' was expected after 'promote to prod', not the end"),
        ("promote to if exact_match >= prod", "an alias was expected after 'promote to', not 'if'"),
        ("promote to prod if", "a metric, 'no suite drops' or 'every suite passes' was expected"),
        ("promote to prod if exact_mach >= prod", "Unknown metric 'exact_mach'.*exact_match"),
        ("promote to prod if exact_match = prod", "'= prod' in the policy is not understood"),
        ("promote to prod if exact_match >= 80%", "'%' in the policy is not understood"),
        ("promote to prod if exact_match >= prod or loss < prod", "'and' or the end was expected"),
        ("promote to prod if exact_match >= prod and", "a metric, .* not the end"),
        ("promote to prod if exact_match <= prod", "better when higher: write > or >=, not <="),
        ("promote to prod if loss >= prod", "better when lower: write < or <=, not >="),
        ("promote to prod if exact_match > 0.8 significantly", "only a model can be beaten significantly"),
        ("promote to prod if exact_match >= prod significantly", "an equal value is no difference"),
        ("promote to prod if loss <= prod + 1 point", "loss is no share of 1, so it has no points"),
        ("promote to prod if no suite drops by 1 point", "'more than' was expected after 'no suite drops by', not '1'"),
        ("promote to prod if no suite drops > 1 point in loss", "write loss <= ALIAS"),
        ("promote to prod if tokens_per_second >= prod - 1 point", "tokens_per_second is no share of 1"),
        ("promote to prod if no suite drops in tokens_per_second", "write tokens_per_second >= ALIAS - NUMBER"),
        ("promote to base if every suite passes", "cannot be an alias"),
        ("promote to prod on a, a if every suite passes", "named twice"),
        ("promote to prod if exact_match > -1", "a number, an alias or 'base' was expected"),
        ("x" * 5000, "at most 4096 characters"),
    ],
)
def test_what_is_not_understood_is_named(text: str, message: str) -> None:
    with pytest.raises(GateError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"alias": "prod"}, "policy.conditions: Field required"),
        ({"alias": "prod", "conditions": []}, "policy.conditions: .*at least 1"),
        ({"alias": "prod", "conditions": [{"kind": "passes"}], "suite": "x"}, "policy.suite: Extra inputs"),
        ({"alias": "prod", "conditions": [{"kind": "better"}]}, "policy.conditions.0: .*'metric', 'no_drop', 'passes'"),
        ({"alias": "prod", "conditions": [{"kind": "no_drop", "margin": -1}]}, "margin: .*greater than or equal to 0"),
        ({"alias": "if", "conditions": [{"kind": "passes"}]}, "'if' cannot be named in a policy"),
        ({"alias": "0.8", "conditions": [{"kind": "passes"}]}, "'0.8' cannot be named in a policy"),
        ("promote", "policy: "),
    ],
)
def test_a_malformed_object_is_refused_by_place(value: object, message: str) -> None:
    with pytest.raises(GateError, match=message):
        Policy.of(value)


names = st.from_regex(r"[a-z][a-z0-9._-]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("to", "on", "if", "and", "no", "every", "in", "by", "more", "than", "base", "promote")
)
margins = st.floats(-1, 1, allow_nan=False) | st.sampled_from([0.0, 0.01, 0.05, -0.02])
metric_conditions = st.builds(
    lambda to, margin, suite, significant: MetricCondition(
        metric="exact_match", comparison=">" if significant else ">=", to=to, margin=margin, suite=suite,
        significant=significant and isinstance(to, str),
    ),
    names | st.floats(0, 1e6, allow_nan=False), margins, st.none() | names, st.booleans(),
)  # fmt: skip
drop_conditions = st.builds(
    DropCondition,
    margin=margins.map(abs),
    metric=st.sampled_from([None, "exact_match", "rouge_l"]),
    significant=st.booleans(),
)
policies = st.builds(
    Policy,
    alias=names,
    suites=st.lists(names, max_size=3, unique=True).map(tuple),
    conditions=st.lists(metric_conditions | drop_conditions | st.just(PassCondition()), min_size=1, max_size=4).map(
        tuple
    ),
)


@given(policies)
def test_what_is_written_reads_the_same(policy: Policy) -> None:
    assert parse(to_text(policy)) == policy
    assert Policy.of(policy.to_json()) == policy


@given(st.text(max_size=40) | st.lists(st.sampled_from(EXAMPLE.split()), max_size=12).map(" ".join))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    try:
        assert parse(parse_back := to_text(parse(text))) == parse(text), parse_back
    except GateError as error:
        assert str(error)  # noqa: PT017 - either outcome is right
