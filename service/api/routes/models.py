"""`GET /v1/models`: what requests can name as their model."""

from typing import Annotated

from fastapi import APIRouter, Path

from adapters.manifest import ASSUMED
from service.api.answers.generation import resolve
from service.api.auth.principal import Reader, Ready
from service.api.schemas.models import Model, ModelList
from service.api.state import ServerState, State
from service.inference.inference import Inference
from service.inference.target import Target

router = APIRouter(prefix="/v1/models", tags=["openai"])


@router.get("")
def list_models(principal: Reader, inference: Ready, state: State) -> ModelList:
    """The base, then every adapter whose newest version fits it, where adapters are served."""
    fitting = [
        Model(
            id=adapter.name,
            created=int(adapter.latest.created_at.timestamp()),
            root=adapter.latest.digest,
            parent=inference.model_name,
            max_model_len=inference.engine.context_tokens,
        )
        for adapter in state.registry.adapters(principal.tenant)
        if state.settings.max_loras and adapter.latest.base_digest in (inference.base.digest, ASSUMED)
    ]
    return ModelList(data=[_base(inference, state), *fitting])


@router.get("/{model:path}")
def show_model(principal: Reader, inference: Ready, state: State, model: Annotated[str, Path(max_length=255)]) -> Model:
    """One model, by any reference to it."""
    target = resolve(inference, principal, model)
    return _base(inference, state) if target.version is None else _adapter(inference, target, model)


def _base(inference: Inference, state: ServerState) -> Model:
    return Model(
        id=inference.model_name,
        created=state.started_at,
        root=inference.base.digest,
        parent=None,
        max_model_len=inference.engine.context_tokens,
    )


def _adapter(inference: Inference, target: Target, model: str) -> Model:
    assert target.version is not None
    return Model(
        id=model,
        created=int(target.version.created_at.timestamp()),
        root=target.version.digest,
        parent=inference.model_name,
        max_model_len=inference.engine.context_tokens,
    )
