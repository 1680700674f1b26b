"""`/v1/arena`: two answers, blind; votes; who is preferred; and what can be learnt from it."""

import json
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from evaluation.arena.battle import Answer
from evaluation.arena.leaderboard import leaderboard
from evaluation.arena.pairs import preference_pairs
from evaluation.arena.saving import case_of, save
from service.api.answers.battles import answers_of
from service.api.answers.generation import resolve
from service.api.auth.principal import Publisher, Reader, Ready
from service.api.schemas.arena import (
    PRINTABLE,
    BattleBody,
    BattleDeleted,
    BattleList,
    BattleReply,
    LeaderboardReply,
    RatingBody,
    RatingList,
    RatingReply,
    SavedCaseBody,
    VoteBody,
    VoteList,
    VoteReply,
    battle_list,
)
from service.api.schemas.listing import After
from service.api.schemas.schema import ModelName
from service.api.schemas.suites import SuiteReply
from service.api.state import State
from service.page import Page

router = APIRouter(prefix="/v1/arena", tags=["arena"])

BattleId = Annotated[str, Path(pattern="^[A-Za-z0-9-]{1,64}$")]
Viewer = Annotated[str | None, Query(alias="voter", min_length=1, max_length=64, pattern=PRINTABLE)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Models = Annotated[list[ModelName] | None, Query(alias="model", max_length=64)]
_ROWS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/jsonl": {"example": '{"prompt": […], "chosen": "Yes.", "rejected": "No."}\n'}}}
}


@router.post("/battles", status_code=201)
async def create_battle(
    request: Request, principal: Reader, inference: Ready, state: State, body: BattleBody
) -> BattleReply:
    """Lets two models answer, on sides that chance gives them. Which is which is told to those who have voted."""
    answers = await answers_of(request, inference, state, principal, body)
    generation = {"max_tokens": body.max_tokens, "temperature": body.temperature, "seed": body.seed}
    battle = await run_in_threadpool(state.arena.create, principal.tenant, body.rendered, answers, generation)
    return BattleReply.of(battle, None)


@router.get("/battles")
def list_battles(
    principal: Reader, state: State, voter: Viewer = None, after: After = None, limit: Limit = 100
) -> BattleList:
    """Battles, newest first, as one voter may see them; the default is the key's tenant."""
    page = Page.of(state.arena.list(principal.tenant, after, limit + 1), limit)
    ids = [battle.id for battle in page.data]
    winners = state.arena.voted(principal.tenant, voter or principal.tenant, ids)
    return battle_list(page, [winners.get(battle_id) for battle_id in ids])


@router.get("/battles/{battle_id}")
def show_battle(principal: Reader, state: State, battle_id: BattleId, voter: Viewer = None) -> BattleReply:
    """One battle, as one voter may see it."""
    battle = state.arena.get(principal.tenant, battle_id)
    winners = state.arena.voted(principal.tenant, voter or principal.tenant, [battle_id])
    return BattleReply.of(battle, winners.get(battle_id))


@router.delete("/battles/{battle_id}")
def delete_battle(principal: Publisher, state: State, battle_id: BattleId) -> BattleDeleted:
    """Forgets a battle with its votes and ratings."""
    state.arena.delete(principal.tenant, battle_id)
    return BattleDeleted(id=battle_id)


@router.post("/votes", status_code=201)
def vote(principal: Reader, state: State, body: VoteBody) -> VoteReply:
    """Keeps a choice, one of each voter on a battle, and tells who was who."""
    voter = body.voter or principal.tenant
    return VoteReply.of(state.arena.vote(principal.tenant, body.battle, voter, body.winner, body.comment))


@router.get("/votes")
def list_votes(principal: Publisher, state: State, after: After = None, limit: Limit = 100) -> VoteList:
    """Everybody's votes, newest first; they tell who was who."""
    return VoteList.of(Page.of(state.arena.votes(principal.tenant, after, limit + 1), limit))


@router.post("/ratings", status_code=201)
def rate(principal: Reader, inference: Ready, state: State, body: RatingBody) -> RatingReply:
    """Keeps a score and a comment for one answer; of a battle's answer, in the place of the voter's earlier one."""
    opinion = body.opinion(principal.tenant)
    if body.battle is not None and body.side is not None:
        rating = state.arena.rate(principal.tenant, body.battle, body.side, opinion)
        voted = state.arena.voted(principal.tenant, opinion.voter, [body.battle])
        return RatingReply.of(rating, told=bool(voted))
    target = resolve(inference, principal, body.model)
    digest = inference.base.digest if target.version is None else target.version.digest
    answer = Answer(model=target.model, digest=digest, text=body.answer or "", finish_reason="stop")
    return RatingReply.of(state.arena.rate_answer(principal.tenant, body.rendered, answer, opinion), told=True)


@router.get("/ratings")
def list_ratings(principal: Publisher, state: State, after: After = None, limit: Limit = 100) -> RatingList:
    """Everybody's ratings, newest first; they tell whose answers they are about."""
    return RatingList.of(Page.of(state.arena.ratings(principal.tenant, after, limit + 1), limit))


@router.post("/cases", status_code=201)
def save_case(principal: Publisher, state: State, body: SavedCaseBody) -> SuiteReply:
    """Adds an answer to a suite as what should be said; the suite's next version has it."""
    messages, completion = body.rendered, body.completion
    if body.battle is not None:
        battle = state.arena.get(principal.tenant, body.battle)
        messages = [dict(message) for message in battle.messages]
        completion = completion or battle.answer(body.side or "a").text
    case = case_of(messages, completion or "", body.tags, body.fields)
    return SuiteReply.of(save(state.desk.suites, principal.tenant, body.suite, [case]))


@router.get("/leaderboard")
def show_leaderboard(principal: Reader, state: State, model: Models = None) -> LeaderboardReply:
    """Models by how strongly people prefer them, by the newest 10,000 votes; `model` leaves battles between these."""
    return LeaderboardReply.of(leaderboard(state.arena, principal.tenant, model or ()))


@router.get("/export", response_class=StreamingResponse, responses=_ROWS)
def export(
    principal: Publisher, state: State, model: Models = None, min_margin: Annotated[int, Query(ge=1, le=1000)] = 1
) -> StreamingResponse:
    """Votes as preference pairs, JSON Lines: a training file for DPO. `model` leaves battles of these."""
    state.arena.check_models(principal.tenant, model or ())
    pairs = preference_pairs(partial(state.arena.ballots, principal.tenant, model or ()), min_margin)
    return StreamingResponse(_lines(pairs), media_type="application/jsonl")


def _lines(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    # The first one before the status line is sent: a database that is away is an error and no empty file.
    first = list(islice(rows, 1))
    return (json.dumps(row, ensure_ascii=True) + "\n" for row in chain(first, rows))
