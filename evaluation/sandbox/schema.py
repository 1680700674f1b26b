"""JSON values against JSON Schemas, whose patterns and references can take as long as they like."""

import json
from functools import lru_cache
from typing import Any

from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

_MAX_REASON_CHARACTERS = 300


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Check a schema, and a value against it.

    Args:
        request: `schema`, JSON text; optionally `value`.

    Returns:
        `schema_error` where the schema is none; `error` where the value does not meet it; otherwise nothing.
    """
    try:
        validator = _validator(request["schema"])
        if "value" not in request:
            # References are followed by validation only.
            next(validator.iter_errors(None), None)
            return {}
        error = next(validator.iter_errors(request["value"]), None)
    except SchemaError as error:
        return {"schema_error": _reason(error.json_path, error.message)}
    except (Unresolvable, RecursionError) as error:
        return {"schema_error": f"a reference leads nowhere: {str(error)[:_MAX_REASON_CHARACTERS]}"}
    return {} if error is None else {"error": _reason(error.json_path, error.message)}


@lru_cache(maxsize=16)
def _validator(text: str) -> Validator:
    schema = json.loads(text)
    kind = validator_for(schema, default=Draft202012Validator)
    kind.check_schema(schema)
    # An empty registry: nothing is fetched from anywhere.
    return kind(schema, registry=Registry())


def _reason(path: str, message: str) -> str:
    return f"{path}: {message[:_MAX_REASON_CHARACTERS]}"
