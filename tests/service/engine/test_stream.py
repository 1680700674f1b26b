import asyncio
import threading
from collections.abc import Callable

import pytest

from service.engine.errors import EngineFailedError
from service.engine.request import Delta, TokenLogprob
from service.engine.stream import TokenStream

DELTAS = [Delta("he", (1,)), Delta("", (2,)), Delta("llo", (3,)), Delta("!", (4,), "stop")]


def filled(on_cancel: Callable[[], None] = lambda: None) -> TokenStream:
    stream = TokenStream(5, on_cancel)
    for delta in DELTAS:
        stream.put(delta)
    return stream


def test_the_answer_is_all_deltas_joined() -> None:
    answer = filled().answer()
    assert (answer.text, answer.token_ids, answer.finish_reason) == ("hello!", (1, 2, 3, 4), "stop")
    assert answer.prompt_tokens == 5
    assert answer.seconds >= 0


def test_an_event_loop_gets_the_same() -> None:
    assert asyncio.run(filled().answer_async()).text == "hello!"


def test_an_event_loop_is_woken_from_another_thread() -> None:
    def write(stream: TokenStream) -> None:
        for delta in DELTAS:
            stream.put(delta)

    async def read() -> list[Delta]:
        stream = TokenStream(1)
        writer = threading.Timer(0.05, write, [stream])
        writer.start()
        found = [delta async for delta in stream]
        writer.join()
        return found

    assert asyncio.run(asyncio.wait_for(read(), 10)) == DELTAS


def test_an_error_ends_the_stream_where_it_stands() -> None:
    stream = TokenStream(1)
    stream.put(DELTAS[0])
    stream.put(EngineFailedError("broken"))
    read = iter(stream)
    assert next(read) == DELTAS[0]
    with pytest.raises(EngineFailedError, match="broken"):
        next(read)

    again = TokenStream(1)
    again.put(EngineFailedError("broken"))
    with pytest.raises(EngineFailedError, match="broken"):
        asyncio.run(again.answer_async())


def test_a_reader_who_leaves_an_event_loop_cancels() -> None:
    async def leave(stream: TokenStream) -> None:
        deltas = aiter(stream)
        assert await anext(deltas) == DELTAS[0]
        await deltas.aclose()  # type: ignore[attr-defined]

    told: list[bool] = []
    stream = filled(lambda: told.append(stream.cancelled))
    asyncio.run(leave(stream))
    assert stream.cancelled
    # When the engine is told, it can see it.
    assert told == [True]


def test_a_reader_who_stays_to_the_end_does_not_cancel() -> None:
    told: list[None] = []
    stream = filled(lambda: told.append(None))
    assert asyncio.run(stream.answer_async()).token_ids == (1, 2, 3, 4)
    assert not stream.cancelled
    assert told == []


def test_a_closed_loop_does_not_stop_the_engine() -> None:
    stream = TokenStream(1)

    async def read_a_while() -> Callable[[], None]:
        reading = asyncio.ensure_future(stream.answer_async())
        await asyncio.sleep(0.01)
        wake = stream._wake
        reading.cancel()
        return wake

    # As if the engine were about to wake the reader while its loop closes.
    stream._wake = asyncio.run(read_a_while())
    stream.put(DELTAS[0])


def test_an_answer_holds_the_logprobs_of_all_deltas() -> None:
    stream = TokenStream(3)
    stream.cached_tokens = 2
    found = [TokenLogprob(token, -float(token)) for token in range(4)]
    stream.put(Delta("a", (2,), None, (found[2],), (found[0], found[1])))
    stream.put(Delta("b", (3,), "length", (found[3],)))
    answer = stream.answer()
    assert (answer.prompt_logprobs, answer.logprobs) == (tuple(found[:2]), tuple(found[2:]))
    assert answer.cached_tokens == 2


def test_a_whole_answer_wakes_its_event_loop_once() -> None:
    async def read() -> tuple[str, int]:
        wakes: list[None] = []
        stream = TokenStream(1)
        answering = asyncio.ensure_future(stream.answer_async())
        await asyncio.sleep(0.01)
        genuine = stream._wake

        def wake() -> None:
            wakes.append(None)
            genuine()

        stream._wake = wake
        for delta in DELTAS:
            stream.put(delta)
        return (await answering).text, len(wakes)

    assert asyncio.run(asyncio.wait_for(read(), 10)) == ("hello!", 1)


def test_an_error_wakes_an_event_loop_too() -> None:
    async def read() -> None:
        stream = TokenStream(1)
        timer = threading.Timer(0.05, stream.put, [EngineFailedError("broken")])
        timer.start()
        try:
            await stream.answer_async()
        finally:
            timer.join()

    with pytest.raises(EngineFailedError):
        asyncio.run(asyncio.wait_for(read(), 10))
