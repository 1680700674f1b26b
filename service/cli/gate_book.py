"""Gates as the commands see them: in this process's home, or on a running server."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from adapters.errors import InvalidNameError, UnknownAliasError
from adapters.reference import Reference
from service.actor import local_actor
from service.cli.client import Client
from service.gate.gate import ENDED
from service.gate.gates import Gates
from service.gate.reading import read_policy
from service.gate.shown import check_to_json, gate_to_json
from service.registry.opening import open_registry
from service.settings import Settings

Json = dict[str, Any]
_LOOK_SECONDS = 0.5


class GateBook(Protocol):
    """What the commands need; gates and checks are JSON objects as the HTTP routes give them."""

    def set(self, adapter: str, alias: str, policy: str | Mapping[str, Any], suites: Sequence[str]) -> Json:
        """Puts a policy on an alias."""

    def show(self, adapter: str, alias: str) -> Json:
        """One gate."""

    def delete(self, adapter: str, alias: str) -> None:
        """Takes a gate away."""

    def run(self, reference: Reference, alias: str) -> Json:
        """Puts a version before a gate, and waits until it is decided."""

    def checks(self, adapter: str, alias: str, limit: int) -> list[Json]:
        """Who came before a gate, newest first."""

    def list(self, adapter: str) -> list[Json]:
        """The gates of an adapter."""


class LocalGates:
    """Of `LORAD_HOME`.

    Args:
        chosen: name the home, the tenant and the base.
    """

    def __init__(self, chosen: Settings) -> None:
        self._settings = chosen
        self._registry = open_registry(chosen)
        self._gates = Gates(self._registry.database)
        self._tenant = chosen.tenant

    def set(self, adapter: str, alias: str, policy: str | Mapping[str, Any], suites: Sequence[str]) -> Json:
        """See `GateBook`."""
        read = read_policy(policy, alias, suites)
        return gate_to_json(self._gates.set(self._tenant, adapter, read, local_actor()))

    def show(self, adapter: str, alias: str) -> Json:
        """See `GateBook`."""
        return gate_to_json(self._gates.get(self._tenant, adapter, alias))

    def delete(self, adapter: str, alias: str) -> None:
        """See `GateBook`."""
        self._gates.delete(self._tenant, adapter, alias)

    def run(self, reference: Reference, alias: str) -> Json:
        """See `GateBook`."""
        # torch is loaded with it, and only here.
        from service.cli.local_gate import run_gate_here

        _refuse_checkpoint(reference)
        self._gates.get(self._tenant, reference.name, alias)
        version = self._registry.resolve(self._tenant, reference)
        assert version.number is not None
        check = self._gates.ask(self._tenant, reference.name, alias, version.number, local_actor())
        return check_to_json(run_gate_here(self._settings, check))

    def checks(self, adapter: str, alias: str, limit: int) -> list[Json]:
        """See `GateBook`."""
        return [check_to_json(check) for check in self._gates.checks(self._tenant, adapter, alias, limit=limit).data]

    def list(self, adapter: str) -> list[Json]:
        """See `GateBook`."""
        return [gate_to_json(gate) for gate in self._gates.list(self._tenant, adapter)]


class RemoteGates:
    """Of a server.

    Args:
        client: calls it.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def set(self, adapter: str, alias: str, policy: str | Mapping[str, Any], suites: Sequence[str]) -> Json:
        """See `GateBook`."""
        sent = policy if isinstance(policy, str) else dict(policy)
        return self._call("PUT", adapter, f"/{alias}", json={"policy": sent, "suites": list(suites)})

    def show(self, adapter: str, alias: str) -> Json:
        """See `GateBook`."""
        return self._call("GET", adapter, f"/{alias}")

    def delete(self, adapter: str, alias: str) -> None:
        """See `GateBook`."""
        self._call("DELETE", adapter, f"/{alias}")

    def run(self, reference: Reference, alias: str) -> Json:
        """See `GateBook`."""
        _refuse_checkpoint(reference)
        number = reference.number
        if reference.alias is not None:
            aliases = self._client.call("GET", f"/v1/adapters/{reference.name}")["aliases"]
            if reference.alias not in aliases:
                raise UnknownAliasError(reference.name, reference.alias, sorted(aliases))
            number = aliases[reference.alias]
        check = self._call("POST", reference.name, f"/{alias}/run", json={"version": number})
        while check["status"] not in ENDED:
            time.sleep(_LOOK_SECONDS)
            check = self._call("GET", reference.name, f"/{alias}/checks/{check['id']}")
        return check

    def checks(self, adapter: str, alias: str, limit: int) -> list[Json]:
        """See `GateBook`."""
        return self._call("GET", adapter, f"/{alias}/checks", params={"limit": limit})["data"]  # type: ignore[no-any-return]

    def _call(self, method: str, adapter: str, path: str, **options: Any) -> Json:
        found: Json = self._client.call(method, f"/v1/adapters/{adapter}/gates{path}", **options)
        return found

    def list(self, adapter: str) -> list[Json]:
        """See `GateBook`."""
        return self._call("GET", adapter, "")["data"]  # type: ignore[no-any-return]


def _refuse_checkpoint(reference: Reference) -> None:
    if reference.checkpoint_step is not None:
        raise InvalidNameError(f"{reference} is a checkpoint: a gate takes versions only")


def open_gates(chosen: Settings) -> GateBook:
    """The server's where the settings name one, else those of `LORAD_HOME`."""
    return RemoteGates(Client(chosen.server, chosen.api_key)) if chosen.server else LocalGates(chosen)
