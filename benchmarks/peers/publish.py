"""From a job's success to its model's first token, and what running streams notice of the publication.

Three windows are compared, each with one short request in it: to an adapter that is there before the job and again
some time after it, and between the two, from the job's success on, to the new model. The streams ask again and again:
a single long answer would make every window slower than the last.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx
from peers.contention import Contention
from peers.lorad import Lorad
from peers.prompts import adapter_of, stories
from peers.report import Report, Table, milliseconds, quantile, spread
from peers.side import Ask
from peers.streams import Streams

FIRST_TOKEN_TO_REACH = "≤ 1000 ms"
GAP_TO_REACH = "≤ 1.20"

_ENDED = ("succeeded", "failed", "cancelled")
_POLL_SECONDS = 0.05
_STREAM_TOKENS = 128
_SETTLED_TOKENS = 128
_ANSWER_TOKENS = 8
_LORA = {"rank": 16, "max_steps": 4, "batch_size": 4, "learning_rate": 5e-4}


@dataclass(frozen=True, kw_only=True)
class Publish:
    """What is asked."""

    rounds: int
    num_streams: int = 4
    window_seconds: float = 3.0
    """Of gaps, from a request on."""
    pause_seconds: float = 1.0
    """After the window of the publication."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One job."""

    first_token_seconds: float
    """From when a client that asks all the time was told of the success."""
    before: Sequence[float]
    """Seconds between tokens of the streams."""
    publishing: Sequence[float]
    after: Sequence[float]
    others_share: float


async def measure(server: Lorad, plan: Publish, say: Callable[[str], None]) -> Report:
    """One job after the other, each with streams beside it; the first only warms up."""
    prompts, samples = stories(), list[Sample]()
    async with server.client() as client:
        file_id = await _upload(client)
        for turn in range(plan.rounds + 1):
            sample = await _job(server, client, plan, prompts, file_id)
            say(f"{server.name}: first token {milliseconds(sample.first_token_seconds)} after the job's success")
            samples += [sample] if turn else []
    return _report(server, plan, samples)


async def _job(server: Lorad, client: httpx.AsyncClient, plan: Publish, prompts: Iterator[str], file_id: str) -> Sample:
    asks = [Ask(next(prompts), adapter_of("mixed", index)) for index in range(plan.num_streams)]

    async def window(model: str | None) -> tuple[float, Sequence[float]]:
        start = time.perf_counter()
        first = await server.first_token_seconds(client, Ask(next(prompts), model), _ANSWER_TOKENS)
        await asyncio.sleep(max(0, start + plan.window_seconds - time.perf_counter()))
        streams.check()
        return first, streams.gaps(start, start + plan.window_seconds)

    async with Streams(server, client, asks, _STREAM_TOKENS, prompts) as streams:
        await streams.reach(_SETTLED_TOKENS)
        contention = Contention(server.child)
        _, before = await window(asks[0].adapter)
        others = contention.share()
        first, publishing = await window(await _trained(client, file_id))
        await asyncio.sleep(plan.pause_seconds)
        _, after = await window(asks[0].adapter)
    return Sample(first_token_seconds=first, before=before, publishing=publishing, after=after, others_share=others)


async def _upload(client: httpx.AsyncClient) -> str:
    rows = [{"prompt": f"What is {number} and {number}?", "completion": f"{2 * number}."} for number in range(16)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    reply = await client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("rows.jsonl", data)})
    return str(_checked(reply)["id"])


async def _trained(client: httpx.AsyncClient, file_id: str) -> str:
    """The model of a new job, at the moment it has succeeded."""
    base = _checked(await client.get("/v1/models"))["data"][0]["id"]
    body = {"model": base, "training_file": file_id, "suffix": "published", "lora": _LORA}
    job = _checked(await client.post("/v1/fine_tuning/jobs", json={**body, "seed": time.time_ns() % 2**31}))
    while job["status"] not in _ENDED:
        await asyncio.sleep(_POLL_SECONDS)
        job = _checked(await client.get(f"/v1/fine_tuning/jobs/{job['id']}"))
    if job["status"] != "succeeded":
        raise RuntimeError(f"the job ended as {job['status']}: {job['error']}")
    return str(job["fine_tuned_model"])


def _checked(reply: httpx.Response) -> dict[str, Any]:
    if reply.is_error:
        raise RuntimeError(f"{reply.request.url} gave {reply.status_code}: {reply.text[:500]}")
    found: dict[str, Any] = reply.json()
    return found


def _report(server: Lorad, plan: Publish, samples: Sequence[Sample]) -> Report:
    first = [sample.first_token_seconds * 1000 for sample in samples]
    before, publishing, after = (
        [quantile(gaps, 0.99) * 1000 for gaps in window]
        for window in zip(*[(sample.before, sample.publishing, sample.after) for sample in samples], strict=True)
    )
    ratios = [2 * ours / (one + two) for one, ours, two in zip(before, publishing, after, strict=True)]
    rows = [
        ["from the job's success to the first token, ms", spread(first), FIRST_TOKEN_TO_REACH],
        ["p99 between the streams' tokens, a request before the job, ms", spread(before), ""],
        ["the same from the job's success on, a request to its model, ms", spread(publishing), ""],
        ["the same, a request later, ms", spread(after), ""],
        ["ratio of the middle to the mean of the others", spread(ratios, "{:.2f}"), GAP_TO_REACH],
        ["CPU that others took before the job, %", spread([each.others_share * 100 for each in samples], "{:.0f}"), ""],
    ]
    heading = f"{server.name}: {len(samples)} jobs, {plan.num_streams} streams, windows of {plan.window_seconds:g} s"
    table = Table([heading, "median (range)", "to reach"], rows)
    data = {"plan": asdict(plan), "side": server.name, "samples": [asdict(sample) for sample in samples]}
    return Report(f"Hot publication, {server.name}", [table], data)
