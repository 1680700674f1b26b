"""Options of one command in groups: a dataclass for each, where a function would have dozens of parameters."""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command whose parameters are dataclasses of options into one that typer can read.

    Every field of such a dataclass becomes a flag of its name, described and defaulted as the field is.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if is_dataclass(kind) and isinstance(kind, type)}

    @functools.wraps(command)
    def flat(**flags: Any) -> None:
        for name, kind in groups.items():
            flags[name] = kind(**{field.name: flags.pop(field.name) for field in fields(kind)})
        command(**flags)

    parameters = list(_parameters(inspect.signature(command), hints, groups))
    # What typer looks at instead of the code: its own reading of a function knows no groups.
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat


def _parameters(
    signature: inspect.Signature, hints: dict[str, Any], groups: dict[str, type]
) -> Iterator[inspect.Parameter]:
    for name, parameter in signature.parameters.items():
        if name in groups:
            types = get_type_hints(groups[name], include_extras=True)
            yield from (_parameter(field, types[field.name]) for field in fields(groups[name]))
        else:
            yield parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)


def _parameter(field: Field[Any], annotation: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
