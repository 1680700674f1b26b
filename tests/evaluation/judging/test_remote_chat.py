from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from evaluation.errors import JudgeRefusedError, JudgeRestingError, JudgeUnavailableError
from evaluation.judging.chat_judge import ChatJudge
from evaluation.judging.pairwise import Pair, compare_pairs, summarise
from evaluation.judging.remote_chat import Endpoint, RemoteChat
from tests.evaluation.judging.conftest import OpenAIServer, StartServer

QUESTION = ({"role": "user", "content": "What colour is the sky?"},)


@contextmanager
def judge_of(server: OpenAIServer, **fields: Any) -> Iterator[ChatJudge]:
    values: dict[str, Any] = {"model": "long", "api_key": "secret", "delays_seconds": (0.0, 0.0), "rest_seconds": 0.0}
    chat = RemoteChat(Endpoint(url=server.url, **{**values, **fields}))
    try:
        yield ChatJudge(chat)
    finally:
        chat.close()


def test_a_judge_over_http_compares_and_grades(start_server: StartServer) -> None:
    with judge_of(start_server()) as judge:
        assert judge.name == "long"
        verdict = judge.compare(QUESTION, "Blue.", "Blue on a clear day.")
        assert (verdict.winner, verdict.reason) == ("second", "Looked at both.\n[[B]]")
        grade = judge.grade(QUESTION, "It is blue", "blue", ("Right.", "Short."))
        assert (grade.marks, grade.score) == ((3.0, 3.0), 0.5)


def test_many_pairs_are_judged_in_both_orders(start_server: StartServer) -> None:
    with judge_of(start_server()) as judge:
        pairs = [Pair(question=QUESTION, first="x" * number, second="x" * 5) for number in range(1, 10)]
        verdicts = compare_pairs(judge, pairs)
    assert [verdict.winner for verdict in verdicts] == ["second"] * 4 + ["tie"] + ["first"] * 4
    assert summarise(verdicts).agreement == 1.0


def test_what_passes_is_tried_again(start_server: StartServer) -> None:
    with judge_of(start_server(429, 503)) as judge:
        assert judge.compare(QUESTION, "ab", "a").winner == "first"


def test_attempts_are_bounded(start_server: StartServer) -> None:
    with judge_of(start_server(503, 503, 503)) as judge:
        with pytest.raises(JudgeUnavailableError, match="'long' cannot be asked: it answered with status 503"):
            judge.compare(QUESTION, "ab", "a")
        assert judge.compare(QUESTION, "ab", "a").winner == "first"


def test_a_wrong_key_is_not_tried_again_and_not_shown(start_server: StartServer) -> None:
    with (
        judge_of(start_server(), api_key="wrong", delays_seconds=(3600.0,)) as judge,
        pytest.raises(JudgeUnavailableError, match="status 401: the API key is not the right one") as caught,
    ):
        judge.compare(QUESTION, "ab", "a")
    assert "127.0.0.1" not in str(caught.value)
    assert "wrong" not in str(caught.value)


def test_a_server_that_speaks_something_else_is_unavailable(start_server: StartServer) -> None:
    with judge_of(start_server(), model="nonsense") as judge, pytest.raises(JudgeUnavailableError, match="no chat"):
        judge.compare(QUESTION, "ab", "a")


def test_a_judge_that_is_killed_is_unavailable_and_then_left_in_peace(start_server: StartServer) -> None:
    server = start_server()
    with judge_of(server, rest_seconds=3600.0, delays_seconds=(0.0,)) as judge:
        assert judge.compare(QUESTION, "ab", "a").winner == "first"
        server.kill()
        with pytest.raises(JudgeUnavailableError, match="it cannot be reached") as caught:
            judge.compare(QUESTION, "ab", "a")
        assert server.url not in str(caught.value)
        # No further attempts for a while: a thousand cases would wait for each.
        with pytest.raises(JudgeRestingError, match="it cannot be reached"):
            judge.grade(QUESTION, "ab", None)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_conversation_that_is_refused_takes_nothing_from_the_next(start_server: StartServer, status: int) -> None:
    with judge_of(start_server(status), rest_seconds=3600.0) as judge:
        with pytest.raises(JudgeRefusedError, match=f"it answered with status {status}"):
            judge.compare(QUESTION, "ab", "a")
        assert judge.compare(QUESTION, "ab", "a").winner == "first"


def test_the_key_is_in_no_representation() -> None:
    assert "secret" not in repr(Endpoint(url="http://127.0.0.1/v1", model="m", api_key="secret"))
