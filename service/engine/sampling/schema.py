"""JSON schemas: what must be refused because the grammar would not enforce it."""

import json
from collections.abc import Iterator
from typing import Any

from service.engine.errors import InvalidGrammarError

_UNENFORCED = (
    *("not", "if", "contains", "minContains", "maxContains", "dependencies", "dependentRequired"),
    *("dependentSchemas", "$dynamicRef", "$recursiveRef"),
)
_NEED_TYPE = (
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern"),
)
_COMBINERS = ("$ref", "allOf", "anyOf", "oneOf")
_ANNOTATIONS = frozenset(
    (
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "discriminator"),
        *("$schema", "$id", "$comment", "$anchor", "$defs", "definitions", "nullable"),
    )
)
_MAPS_OF_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions")
_LISTS_OF_SCHEMAS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCHEMAS = (
    *("items", "additionalProperties", "additionalItems", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties"),
)


def check_schema(text: str, max_depth: int) -> None:
    """Checks that a schema's constraints would all be enforced; that it makes sense otherwise is the compiler's to say.

    Args:
        text: the schema as JSON.
        max_depth: objects and lists may be nested so deep.

    Raises:
        InvalidGrammarError: names the keyword, or the limit.
    """
    schema = parse_json(text, "schema")
    if _is_deeper(schema, max_depth):
        raise InvalidGrammarError(f"the schema is nested deeper than {max_depth} levels, which is the limit")
    for part in _parts(schema):
        _check_part(part)


def parse_json(text: str, what: str) -> Any:
    """Parses a grammar's text.

    Raises:
        InvalidGrammarError: it is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidGrammarError(f"the {what} is not JSON: {error}") from None
    except RecursionError:
        raise InvalidGrammarError(f"the {what} is nested too deep") from None


def _check_part(part: dict[str, Any]) -> None:
    unenforced = [key for key in _UNENFORCED if key in part]
    if part.get("uniqueItems"):
        unenforced.append("uniqueItems")
    if unenforced:
        raise InvalidGrammarError(f"the schema's keyword {unenforced[0]!r} cannot be enforced; leave it out")
    _check_combiners(part)
    _check_reference(part.get("$ref", "#"))
    untyped = [key for key in _NEED_TYPE if key in part and "type" not in part]
    if untyped:
        raise InvalidGrammarError(f"the schema has {untyped[0]!r} without a 'type' beside it, which is needed")
    if "pattern" in part and ("minLength" in part or "maxLength" in part):
        raise InvalidGrammarError("the schema has 'pattern' beside a length; say the length in the pattern")
    _check_required(part)


def _check_combiners(part: dict[str, Any]) -> None:
    for combiner in (key for key in _COMBINERS if key in part):
        beside = sorted(part.keys() - _ANNOTATIONS - {combiner})
        if beside:
            raise InvalidGrammarError(f"the schema has {beside[0]!r} beside {combiner!r}; only one can be enforced")
    if isinstance(part.get("allOf"), list) and len(part["allOf"]) > 1:
        raise InvalidGrammarError("the schema's 'allOf' has more than one member; merge them")


def _check_reference(reference: object) -> None:
    if isinstance(reference, str) and reference != "#" and not reference.startswith("#/"):
        raise InvalidGrammarError(
            f"the schema's reference {reference[:80]!r} leads outside of it; only '#/…' is followed"
        )


def _check_required(part: dict[str, Any]) -> None:
    properties, required = part.get("properties"), part.get("required")
    if not isinstance(required, list) or part.get("additionalProperties") or part.get("patternProperties"):
        return
    declared = properties if isinstance(properties, dict) else {}
    missing = [name for name in required if name not in declared]
    if missing:
        raise InvalidGrammarError(
            f"the schema requires {str(missing[0])[:80]!r}, which its 'properties' do not declare"
        )


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and all schemas in it; not what looks like one in an enum or a default."""
    pending = [schema]
    while pending:
        part = pending.pop()
        if not isinstance(part, dict):
            continue
        yield part
        pending += [part[key] for key in _SCHEMAS if key in part]
        for key in _LISTS_OF_SCHEMAS:
            pending += part[key] if isinstance(part.get(key), list) else []
        for key in _MAPS_OF_SCHEMAS:
            pending += part[key].values() if isinstance(part.get(key), dict) else []


def _is_deeper(value: Any, max_depth: int) -> bool:
    level = [value]
    for _ in range(max_depth):
        level = [inner for outer in level for inner in _inside(outer)]
    return any(isinstance(outer, dict | list) for outer in level)


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
