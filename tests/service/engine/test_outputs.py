from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from service.engine.branches import Branches
from service.engine.errors import DeadlineError, EngineFailedError
from service.engine.metrics import EngineMetrics
from service.engine.outputs import Answering, Scoring
from service.engine.request import GenerationRequest, Scores, TokenLogprob
from service.engine.sampling.sampler import Choice
from service.engine.stream import TokenStream

MakeRequest = Callable[..., GenerationRequest]


class Setup:
    """An answer, its stream, and what is counted."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, request: GenerationRequest) -> None:
        self.stream = TokenStream(len(request.prompt_ids))
        self.metrics = EngineMetrics("tiny")
        self.output = Answering(request, self.stream, tokenizer, self.metrics)

    def choose(self, *token_ids: int) -> bool:
        """Whether the answer ended with the last."""
        ended = [self.output.chosen(Choice(token_id)) for token_id in token_ids]
        assert not any(ended[:-1])
        return ended[-1]

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"model_name": "tiny", **labels})


@pytest.fixture
def setup(tokenizer: PreTrainedTokenizerBase, make_request: MakeRequest) -> Callable[..., Setup]:
    def make(**values: Any) -> Setup:
        return Setup(tokenizer, make_request((5, 6, 7), **values))

    return make


@pytest.fixture
def hello(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """More than three tokens."""
    return tuple(tokenizer("hello there, you")["input_ids"])


def test_text_comes_token_by_token_and_ends_with_the_last_allowed(
    setup: Callable[..., Setup], hello: tuple[int, ...]
) -> None:
    made = setup(max_tokens=len(hello))
    assert made.choose(*hello)
    deltas = list(made.stream)
    assert [delta.token_ids for delta in deltas] == [(token,) for token in hello]
    assert "".join(delta.text for delta in deltas) == "hello there, you"
    assert [delta.finish_reason for delta in deltas] == [None] * (len(hello) - 1) + ["length"]


def test_an_end_token_ends_the_answer_without_a_text_of_its_own(
    setup: Callable[..., Setup], hello: tuple[int, ...]
) -> None:
    for values in ({"stop_ids": [hello[2]]}, {"stop_token_ids": frozenset({hello[2]}), "ignore_eos": True}):
        made = setup(**values)
        assert made.choose(*hello[:3])
        answer = made.stream.answer()
        assert (answer.token_ids, answer.finish_reason) == (hello[:3], "stop")
    ignored = setup(stop_ids=[hello[2]], ignore_eos=True)
    assert not ignored.choose(*hello[:3])
    early = setup(stop_ids=[hello[2]], min_tokens=3)
    assert not early.choose(*hello[:3])
    assert early.choose(hello[2])


def test_a_stop_string_is_not_given_out_nor_what_follows_it(
    setup: Callable[..., Setup], tokenizer: PreTrainedTokenizerBase
) -> None:
    made = setup(stop=("lo th",))
    token_ids = tokenizer("hello there")["input_ids"]
    at = 0
    while not made.choose(token_ids[at]):
        at += 1
    answer = made.stream.answer()
    assert (answer.text, answer.finish_reason) == ("hel", "stop")
    assert answer.token_ids == tuple(token_ids[: at + 1])


def test_what_may_be_a_stop_strings_beginning_comes_with_the_end(
    setup: Callable[..., Setup], tokenizer: PreTrainedTokenizerBase
) -> None:
    made = setup(stop=("hello, sir",))
    made.choose(*tokenizer("hello")["input_ids"])
    made.output.ended("cancelled")
    deltas = list(made.stream)
    assert [delta.text for delta in deltas[:-1]] == [""] * (len(deltas) - 1)
    assert (deltas[-1].text, deltas[-1].token_ids, deltas[-1].finish_reason) == ("hello", (), "cancelled")


def test_the_prompts_logprobs_come_once_with_the_first_token(setup: Callable[..., Setup]) -> None:
    made = setup()
    found = [TokenLogprob(6, -1.0), TokenLogprob(7, -2.0)]
    made.output.scored(found[:1])
    made.output.scored(found[1:])
    logprob = TokenLogprob(9, -0.5, ((9, -0.5),))
    made.output.chosen(Choice(9, logprob))
    made.output.chosen(Choice(9, logprob))
    made.output.ended("stop")
    deltas = list(made.stream)
    assert [delta.prompt_logprobs for delta in deltas] == [tuple(found), (), ()]
    assert [delta.logprobs for delta in deltas] == [(logprob,), (logprob,), ()]


def test_a_prompt_alone_ends_with_its_logprobs(setup: Callable[..., Setup]) -> None:
    made = setup(max_tokens=0)
    made.output.scored([TokenLogprob(6, -1.0)])
    made.output.ended("length")
    (delta,) = made.stream
    assert (delta.prompt_logprobs, delta.token_ids) == ((TokenLogprob(6, -1.0),), ())


def test_an_answer_is_counted_when_it_ends(setup: Callable[..., Setup], hello: tuple[int, ...]) -> None:
    made = setup(max_tokens=3)
    made.output.admitted(2)
    # After a preemption.
    made.output.admitted(0)
    made.choose(*hello[:3])
    assert made.stream.answer().cached_tokens == 2
    assert made.value("vllm:prompt_tokens_total") == 3
    assert made.value("vllm:generation_tokens_total") == 3
    assert made.value("vllm:request_success_total", finished_reason="length") == 1
    for name, count in (("time_to_first_token", 1), ("inter_token_latency", 2), ("request_queue_time", 1)):
        assert made.value(f"vllm:{name}_seconds_count") == count


def test_a_failure_ends_the_stream_and_is_counted(setup: Callable[..., Setup], hello: tuple[int, ...]) -> None:
    made = setup()
    made.choose(hello[0])
    made.output.failed(DeadlineError(1.0))
    with pytest.raises(DeadlineError):
        made.stream.answer()
    assert made.value("vllm:request_success_total", finished_reason="error") == 1
    assert made.value("vllm:generation_tokens_total") == 1


def test_an_answer_is_cancelled_by_its_stream(setup: Callable[..., Setup]) -> None:
    made = setup()
    assert not made.output.cancelled
    made.stream.cancel()
    assert made.output.cancelled


def test_scores_say_which_tokens_were_the_likeliest() -> None:
    future: Future[tuple[Scores, ...]] = Future()
    output = Scoring(future, Branches(1, ((6, 7), (8,))))
    output.admitted(0)
    output.scored([TokenLogprob(6, -1.0, ((6, -1.0),)), TokenLogprob(8, -3.0, ((6, -1.0),))])
    output.scored([TokenLogprob(7, -2.0, ((9, -0.1),))])
    output.ended("length")
    assert future.result(0) == (Scores((-1.0, -2.0), (True, False)), Scores((-3.0,), (False,)))


def test_a_failed_scoring_raises_where_it_is_awaited() -> None:
    future: Future[tuple[Scores, ...]] = Future()
    Scoring(future, Branches(1, ((6,),))).failed(EngineFailedError("broken"))
    with pytest.raises(EngineFailedError, match="broken"):
        future.result(0)


@pytest.mark.parametrize(
    "end", [lambda output: output.ended("cancelled"), lambda output: output.failed(DeadlineError(1))]
)
def test_a_scoring_given_up_takes_neither_result_nor_error(end: Callable[[Scoring], None]) -> None:
    future: Future[tuple[Scores, ...]] = Future()
    output = Scoring(future, Branches(1, ((6,),)))
    assert not output.cancelled
    assert future.cancel()
    assert output.cancelled
    end(output)
    assert future.cancelled()
