"""What every request can reach: one frozen object, made by the lifespan."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from adapters.registry import Registry
from evaluation.arena.arena import Arena
from service.api.auth.keys import Keys
from service.api.background.claimed_work import ClaimedWork
from service.api.background.evaluation_runner import EvaluationRunner
from service.api.background.gate_keeper import GateKeeper
from service.api.background.long_work import LongWork
from service.api.process.lifecycle import Lifecycle
from service.api.streams.limit import EventStreams
from service.evaluation.run import Desk
from service.files.files import Files
from service.gate.gates import Gates
from service.generation.claims import GenerationClaim
from service.generation.desk import GenerationDesk
from service.inference.inference import Inference
from service.jobs.jobs import Jobs
from service.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """The parts of a running server."""

    settings: Settings
    keys: Keys
    registry: Registry
    lifecycle: Lifecycle
    evaluations: LongWork
    desk: Desk
    runner: EvaluationRunner
    preflights: LongWork
    files: Files
    jobs: Jobs
    arena: Arena
    generations: GenerationDesk
    generation_runner: ClaimedWork[GenerationClaim]
    gates: Gates
    gate_keeper: GateKeeper
    event_streams: EventStreams
    started_at: int
    """Unix time."""


async def server_state(request: Request) -> ServerState:
    """The state that the lifespan made."""
    state = request.state.lorad
    assert isinstance(state, ServerState)
    return state


async def ready_inference(request: Request) -> Inference:
    """What answers.

    Raises:
        ApiError: 503 while the model is being loaded, and while the server drains.
    """
    return (await server_state(request)).lifecycle.inference()


State = Annotated[ServerState, Depends(server_state)]
