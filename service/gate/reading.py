"""A gate's policy from what a person sent: the text, or the same as an object of JSON or YAML."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.errors import GateError
from evaluation.gate.policy import Policy
from evaluation.gate.text import parse


def read_policy(value: str | Mapping[str, Any], alias: str, suites: Sequence[str] = ()) -> Policy:
    """The policy of a gate on `alias`.

    Args:
        value: a text, or an object as `Policy.to_json` gives it; either may leave the alias out.
        alias: where the gate is.
        suites: run beside those that the policy names.

    Raises:
        GateError: it is not well formed, or of another alias.
    """
    policy = parse(value, alias) if isinstance(value, str) else Policy.of({"alias": alias, **value})
    if policy.alias != alias:
        raise GateError(f"the policy promotes to {policy.alias!r}, but it is a gate of {alias!r}: name one of them")
    return Policy.of({**policy.to_json(), "suites": list(dict.fromkeys([*policy.suites, *suites]))})
