import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pytest

from evaluation.cases import Case
from evaluation.errors import CaseError, NothingToDoError, RepeatedMetricError, RepeatedModelError, SamplerError
from evaluation.evaluate import evaluate
from evaluation.plan import Plan
from evaluation.sampler import Completion, GenerateRequest, Sampler, ScoredContinuation, ScoredGroup, ScoreGroup
from evaluation.scorers.exact_match import ExactMatch
from evaluation.scorers.spec import ScorerSpec
from evaluation.settings import GenerationSettings

EVERY = ("loss", "perplexity", "token_accuracy", "exact_match", "rouge_l")
END = 0
VOCABULARY = {0: "", 1: "red", 2: "green", 3: "blue"}
Bigrams = Mapping[int, tuple[float, float, float, float]]
"""Probability of each next token after each token."""
BASE: Bigrams = {0: (0.25,) * 4, 1: (0.1, 0.2, 0.6, 0.1), 2: (0.2, 0.1, 0.1, 0.6), 3: (0.7, 0.1, 0.1, 0.1)}
TUNED: Bigrams = {0: (0.25,) * 4, 1: (0.1, 0.1, 0.1, 0.7), 2: (0.5, 0.3, 0.1, 0.1), 3: (0.1, 0.8, 0.05, 0.05)}


class BigramSampler:
    """A language model one can compute by hand: the next token depends on the last one only."""

    def __init__(self, models: Mapping[str | None, Bigrams]) -> None:
        self.models = models
        self.generate_calls: list[Sequence[GenerateRequest]] = []
        self.score_calls: list[Sequence[ScoreGroup]] = []

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[Completion]:
        self.generate_calls.append(requests)
        # Backwards: completions may come in any order.
        for index, request in reversed(list(enumerate(requests))):
            yield self._complete(index, request)

    def score(self, groups: Sequence[ScoreGroup]) -> list[ScoredGroup]:
        self.score_calls.append(groups)
        return [
            ScoredGroup(
                continuations=tuple(
                    self._score(self.models[group.model], group.context_ids[-1], ids) for ids in group.continuations
                )
            )
            for group in groups
        ]

    def _complete(self, index: int, request: GenerateRequest) -> Completion:
        table, sampled = self.models[request.model], [request.prompt_ids[-1]]
        while len(sampled) <= request.max_tokens:
            row = table[sampled[-1]]
            sampled.append(row.index(max(row)))
            if sampled[-1] == END:
                break
        return Completion(
            index=index,
            text=" ".join(VOCABULARY[token] for token in sampled[1:]).strip(),
            token_ids=tuple(sampled[1:]),
            finish_reason="stop" if sampled[-1] == END else "length",
            prompt_tokens=len(request.prompt_ids),
            seconds=0.5,
        )

    def _score(self, table: Bigrams, last: int, ids: Sequence[int]) -> ScoredContinuation:
        before = (last, *ids[:-1])
        return ScoredContinuation(
            logprobs=tuple(math.log(table[a][b]) for a, b in zip(before, ids, strict=True)),
            is_greedy=tuple(table[a][b] == max(table[a]) for a, b in zip(before, ids, strict=True)),
        )


def case(index: int, prompt: int, *continuation: int, labelled: tuple[bool, ...] | None = None) -> Case:
    return Case(
        index=index,
        prompt_text=VOCABULARY[prompt],
        reference=" ".join(VOCABULARY[token] for token in continuation).strip(),
        prompt_ids=(prompt,),
        context_ids=(prompt,),
        continuation_ids=continuation,
        labelled=labelled,
    )


def specs(*names: str) -> tuple[ScorerSpec, ...]:
    return tuple(map(ScorerSpec, names))


CASES = (case(10, 1, 2, 3, END), case(11, 3, 1, END))


@pytest.fixture
def sampler() -> BigramSampler:
    return BigramSampler({None: BASE, "tuned:2": TUNED})


def test_every_metric_is_what_the_table_says(sampler: BigramSampler) -> None:
    seam: Sampler = sampler
    base, tuned = evaluate(seam, [None, "tuned:2"], CASES, specs(*EVERY), GenerationSettings(max_tokens=4))
    base_nll = -sum(map(math.log, (0.6, 0.6, 0.7, 0.1, 0.1)))
    assert base.model is None
    assert tuple(base.metrics) == EVERY
    assert base.metrics["loss"] == pytest.approx(base_nll / 5)
    assert base.metrics["perplexity"] == pytest.approx(math.exp(base_nll / 5))
    assert base.metrics["token_accuracy"] == 3 / 5
    assert base.metrics["exact_match"] == 0.5
    assert base.metrics["rouge_l"] == 0.5
    assert tuned.model == "tuned:2"
    assert tuned.metrics["loss"] == pytest.approx(-sum(map(math.log, (0.1, 0.1, 0.1, 0.8, 0.1))) / 5)


def test_cases_carry_their_answers_in_order(sampler: BigramSampler) -> None:
    base, tuned = evaluate(sampler, [None, "tuned:2"], CASES, specs(*EVERY), GenerationSettings(max_tokens=4))
    first, second = base.cases
    assert (first.index, first.text, first.finish_reason, first.tokens, first.seconds) == (
        10,
        "green blue",
        "stop",
        3,
        0.5,
    )
    assert (first.scores["exact_match"], first.scores["rouge_l"], first.labelled_tokens) == (1.0, 1.0, 3)
    assert first.loss == pytest.approx(-sum(map(math.log, (0.6, 0.6, 0.7))) / 3)
    assert (second.index, second.text, second.scores["exact_match"]) == (11, "", 0.0)
    assert [result.text for result in tuned.cases] == ["blue red blue red", "red blue red blue"]
    assert tuned.cases[0].finish_reason == "length"


def test_tokens_are_counted_and_throughput_given(sampler: BigramSampler) -> None:
    base, tuned = evaluate(sampler, [None, "tuned:2"], CASES, specs(*EVERY), GenerationSettings(max_tokens=4))
    assert (base.prompt_tokens, base.completion_tokens, base.labelled_tokens) == (2, 4, 5)
    assert tuned.completion_tokens == 8
    assert base.tokens_per_second is not None
    assert tuned.tokens_per_second == pytest.approx(2 * base.tokens_per_second)


def test_all_models_and_cases_go_out_in_one_mixed_batch(sampler: BigramSampler) -> None:
    settings = GenerationSettings(max_tokens=3, temperature=0.5, seed=7, stop=("\n",))
    evaluate(sampler, ["tuned:2", None], CASES, specs("loss", "rouge_l"), settings)
    (requests,), (groups,) = sampler.generate_calls, sampler.score_calls
    assert [(request.model, request.prompt_ids) for request in requests] == [
        ("tuned:2", (1,)),
        ("tuned:2", (3,)),
        (None, (1,)),
        (None, (3,)),
    ]
    assert [(group.model, group.continuations) for group in groups] == [
        ("tuned:2", ((2, 3, 0),)),
        ("tuned:2", ((1, 0),)),
        (None, ((2, 3, 0),)),
        (None, ((1, 0),)),
    ]
    assert {(r.max_tokens, r.temperature, r.seed, r.stop) for r in requests} == {(3, 0.5, 7, ("\n",))}


def test_only_what_the_metrics_need_is_run(sampler: BigramSampler) -> None:
    (scored,) = evaluate(sampler, [None], CASES, specs("perplexity"))
    assert (len(sampler.score_calls), len(sampler.generate_calls)) == (1, 0)
    assert list(scored.metrics) == ["perplexity"]
    assert scored.tokens_per_second is None
    assert scored.cases[0].text is None
    (generated,) = evaluate(sampler, [None], CASES, specs("exact_match"))
    assert (len(sampler.score_calls), len(sampler.generate_calls)) == (1, 1)
    assert list(generated.metrics) == ["exact_match"]
    assert (generated.cases[0].loss, set(generated.cases[0].scores)) == (None, {"exact_match"})


def test_only_labelled_tokens_count(sampler: BigramSampler) -> None:
    marked = case(0, 1, 2, 3, END, labelled=(False, True, True))
    (result,) = evaluate(sampler, [None], [marked], specs("loss"))
    assert result.metrics["loss"] == pytest.approx(-(math.log(0.6) + math.log(0.7)) / 2)


def test_one_models_table_does_not_touch_the_others_numbers(sampler: BigramSampler) -> None:
    (alone,) = evaluate(sampler, [None], CASES, specs("loss", "rouge_l"))
    together = evaluate(sampler, ["tuned:2", None], CASES, specs("loss", "rouge_l"))[1]
    assert (together.metrics, together.cases) == (alone.metrics, alone.cases)


def test_progress_is_told_up_to_the_end(sampler: BigramSampler) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(sampler, [None], CASES, specs(*EVERY), on_progress=lambda done, of: seen.append((done, of)))
    assert seen == [(2, 4), (3, 4), (4, 4)]


def test_results_are_json(sampler: BigramSampler) -> None:
    (result,) = evaluate(sampler, [None], CASES, specs(*EVERY))
    assert json.loads(json.dumps(result.to_json()))["cases"][0]["index"] == 10


def test_nothing_to_do_is_an_error(sampler: BigramSampler) -> None:
    with pytest.raises(NothingToDoError, match="no cases"):
        evaluate(sampler, [None], [], specs("loss"))
    with pytest.raises(NothingToDoError, match="No model"):
        evaluate(sampler, [], CASES, specs("loss"))


def test_a_model_named_twice_is_refused(sampler: BigramSampler) -> None:
    with pytest.raises(RepeatedModelError, match="'base' is named 2 times"):
        evaluate(sampler, [None, "tuned:2", None], CASES, specs("loss"))


def test_a_case_must_hold_what_the_metrics_need(sampler: BigramSampler) -> None:
    only_scored, only_generated = replace(CASES[0], prompt_ids=()), replace(CASES[0], continuation_ids=())
    evaluate(sampler, [None], [only_scored], specs("loss"))
    evaluate(sampler, [None], [only_generated], specs("rouge_l"))
    with pytest.raises(CaseError, match="case 10 has no prompt to answer, which rouge_l needs"):
        evaluate(sampler, [None], [only_scored], specs("rouge_l"))
    with pytest.raises(CaseError, match="case 10 has no labelled continuation"):
        Plan([only_generated], specs("loss")).check()


def test_cases_are_not_checked_again_where_they_are_measured(
    sampler: BigramSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise CaseError("it takes too long")

    monkeypatch.setattr(ExactMatch, "check", refuse)
    assert evaluate(sampler, [None], CASES, specs("exact_match"))
    with pytest.raises(CaseError, match="it takes too long"):
        Plan(CASES, specs("exact_match")).check()


@pytest.mark.parametrize("order", [[0], [0, 0], [0, 1, 2]])
def test_missing_repeated_or_strange_completions_are_the_samplers_fault(order: list[int]) -> None:
    class Faulty(BigramSampler):
        def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[Completion]:
            found = {completion.index: completion for completion in super().generate(requests)}
            for index in order:
                yield replace(found[index % len(requests)], index=index)

    with pytest.raises(SamplerError):
        evaluate(Faulty({None: BASE}), [None], CASES, specs("exact_match"))


def test_missing_scores_are_the_samplers_fault() -> None:
    class Faulty(BigramSampler):
        def score(self, groups: Sequence[ScoreGroup]) -> list[ScoredGroup]:
            return super().score(groups)[1:]

    with pytest.raises(SamplerError, match="2 groups"):
        evaluate(Faulty({None: BASE}), [None], CASES, specs("loss"))


@pytest.mark.parametrize("scorer", ["loss", "multiple_choice"])
def test_a_log_probability_that_is_no_number_is_the_samplers_fault(scorer: str) -> None:
    class Faulty(BigramSampler):
        def score(self, groups: Sequence[ScoreGroup]) -> list[ScoredGroup]:
            *others, last = super().score(groups)
            spoilt = replace(last.continuations[-1], logprobs=(math.nan,) * len(last.continuations[-1].logprobs))
            return [*others, replace(last, continuations=(*last.continuations[:-1], spoilt))]

    choosing = replace(CASES[0], choices=((2,), (3,)), choice_texts=("green", "blue"), choice_context_ids=(1,), gold=1)
    with pytest.raises(SamplerError, match="a log probability is NaN"):
        evaluate(Faulty({None: BASE}), [None], [choosing], specs(scorer))


def test_choices_and_expected_tokens_are_scored_in_one_call(sampler: BigramSampler) -> None:
    choosing = replace(
        CASES[0],
        choices=((2,), (3,), (1, 1)),
        choice_texts=("green", "blue", "red red"),
        choice_context_ids=(1,),
        gold=1,
    )
    base, tuned = evaluate(sampler, [None, "tuned:2"], [choosing], specs("multiple_choice", "loss"))
    assert len(sampler.score_calls) == 1
    assert base.cases[0].details["choice_logprobs"] == pytest.approx([math.log(0.6), math.log(0.1), 2 * math.log(0.2)])
    assert (base.metrics["acc"], tuned.metrics["acc"]) == (0.0, 1.0)
    assert base.metrics["loss"] == pytest.approx(-sum(map(math.log, (0.6, 0.6, 0.7))) / 3)


def test_cases_may_bring_their_own_scorers_and_are_told_as_they_come(sampler: BigramSampler) -> None:
    mixed = [replace(CASES[0], scorers=specs("exact_match"), tags=("a",)), replace(CASES[1], tags=("b",))]
    told: list[tuple[str | None, int]] = []
    (result,) = evaluate(
        sampler, [None], mixed, specs("loss"), on_case=lambda model, found: told.append((model, found.index))
    )
    assert result.metrics == {"exact_match": 1.0, "loss": pytest.approx(-math.log(0.01) / 2)}
    assert result.tags == {"a": {"exact_match": 1.0}, "b": {"loss": result.metrics["loss"]}}
    assert sorted(told) == [(None, 10), (None, 11)]
    assert [len(call) for call in (*sampler.score_calls, *sampler.generate_calls)] == [1, 1]


def test_two_scorers_of_one_metric_are_refused(sampler: BigramSampler) -> None:
    twice = (ScorerSpec("classification", {"labels": ["green blue", "red"]}), ScorerSpec("classification"))
    with pytest.raises(RepeatedMetricError, match="case 10: two scorers give 'accuracy'"):
        evaluate(sampler, [None], CASES, twice)
