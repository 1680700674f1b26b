"""`/v1/adapters/{name}/gates`: aliases that move when a candidate is shown to be better."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from adapters.reference import Reference
from service.api.answers.generation import resolve
from service.api.auth.principal import Publisher, Reader, Ready
from service.api.routes.adapters import Name
from service.api.schemas.gates import (
    GateBody,
    GateCheckList,
    GateCheckReply,
    GateDeleted,
    GateList,
    GateReply,
    RunGateBody,
)
from service.api.schemas.listing import After
from service.api.state import State
from service.gate.reading import read_policy

router = APIRouter(prefix="/v1/adapters/{name}/gates", tags=["adapters"])

CheckId = Annotated[str, Path(pattern="^[A-Za-z0-9-]{1,64}$")]


@router.get("")
def list_gates(principal: Reader, state: State, name: Name) -> GateList:
    """The gates on an adapter's aliases."""
    return GateList(data=[GateReply.of(gate) for gate in state.gates.list(principal.tenant, name)])


@router.put("/{alias}")
def set_gate(principal: Publisher, state: State, name: Name, alias: Name, body: GateBody) -> GateReply:
    """Puts a policy on an alias, in the place of one that is there; neither adapter nor alias need exist yet."""
    policy = read_policy(body.policy, alias, body.suites)
    return GateReply.of(state.gates.set(principal.tenant, name, policy, principal.tenant))


@router.get("/{alias}")
def show_gate(principal: Reader, state: State, name: Name, alias: Name) -> GateReply:
    """The gate on an alias."""
    return GateReply.of(state.gates.get(principal.tenant, name, alias))


@router.delete("/{alias}")
def delete_gate(principal: Publisher, state: State, name: Name, alias: Name) -> GateDeleted:
    """Takes the gate off an alias. What came before it stays in the lists."""
    state.gates.delete(principal.tenant, name, alias)
    return GateDeleted(id=f"{name}@{alias}")


@router.post("/{alias}/run", status_code=202)
def run_gate(
    principal: Publisher, inference: Ready, state: State, name: Name, alias: Name, body: RunGateBody
) -> GateCheckReply:
    """Evaluates a version beside what the alias points to, then moves the alias or refuses to; answers at once."""
    tenant = principal.tenant
    version = resolve(inference, principal, str(Reference(name=name, number=body.version)), "version").version
    # The reference names no checkpoint and is no merge.
    assert version is not None
    assert version.number is not None
    check = state.gates.ask(tenant, name, alias, version.number, tenant)
    state.gate_keeper.wake()
    return GateCheckReply.of(check)


@router.get("/{alias}/checks")
def list_checks(
    principal: Reader,
    state: State,
    name: Name,
    alias: Name,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> GateCheckList:
    """Who came before the gate, and how it ended; newest first."""
    return GateCheckList.of(state.gates.checks(principal.tenant, name, alias, after=after, limit=limit))


@router.get("/{alias}/checks/{check_id}")
def show_check(principal: Reader, state: State, name: Name, alias: Name, check_id: CheckId) -> GateCheckReply:
    """One candidate before the gate: how far it is, or what was decided and why."""
    return GateCheckReply.of(state.gates.check(principal.tenant, name, alias, check_id))
