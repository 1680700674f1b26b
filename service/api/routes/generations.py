"""`/v1/data`: new rows from seed rows or documents, as runs in the background whose result is a file."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from service.api.auth.principal import Publisher, Ready
from service.api.schemas.generations import (
    GenerateDataBody,
    GenerationDetail,
    GenerationList,
    GenerationReply,
    fields_of,
)
from service.api.schemas.listing import After
from service.api.state import State

router = APIRouter(prefix="/v1/data", tags=["finetuning"])

GenerationId = Annotated[str, Path(pattern="^[A-Za-z0-9-]{1,64}$")]
_NUM_EXAMPLES = 5


@router.post("/generate", status_code=202)
def generate_data(principal: Publisher, inference: Ready, state: State, body: GenerateDataBody) -> GenerationReply:
    """Lets rows be made on the server's engine, and answers at once; the rows become a file of `/v1/files`."""
    generation = state.generations.ask(inference, principal.tenant, body)
    state.generation_runner.wake()
    return GenerationReply.of(generation)


@router.get("/generations")
def list_generations(
    principal: Publisher, state: State, after: After = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> GenerationList:
    """The caller's generations, newest first."""
    return GenerationList.of(state.generations.generations.list(principal.tenant, after=after, limit=limit))


@router.get("/generations/{generation_id}")
def show_generation(principal: Publisher, state: State, generation_id: GenerationId) -> GenerationDetail:
    """One generation: how far it is, what was dropped and why, and the file once it has ended."""
    found = state.generations.generations
    generation = found.get(principal.tenant, generation_id)
    examples = found.dropped(principal.tenant, generation_id, _NUM_EXAMPLES)
    return GenerationDetail.model_validate({**fields_of(generation), "examples": list(examples)})


@router.post("/generations/{generation_id}/cancel")
def cancel_generation(principal: Publisher, state: State, generation_id: GenerationId) -> GenerationReply:
    """Ends a generation; the rows that it has stay, and it can be resumed."""
    generation = state.generations.generations.cancel(principal.tenant, generation_id)
    state.generation_runner.stop(generation_id)
    return GenerationReply.of(generation)


@router.post("/generations/{generation_id}/resume")
def resume_generation(principal: Publisher, state: State, generation_id: GenerationId) -> GenerationReply:
    """Goes on with a partial, cancelled or failed generation where it was."""
    generation = state.generations.generations.resume(principal.tenant, generation_id)
    state.generation_runner.wake()
    return GenerationReply.of(generation)
