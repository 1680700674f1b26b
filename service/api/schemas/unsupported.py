"""Parameters of OpenAI's API that this server lacks: refused by name, unless their value asks for nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import PydanticCustomError

NOT_BUILT: Mapping[str, tuple[Any, ...]] = {
    "audio": (None,),
    "echo": (None, False),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "modalities": (None, ["text"]),
    "moderation": (None,),
    "prediction": (None,),
    "reasoning_effort": (None, "none"),
    "store": (None, False),
    "suffix": (None, ""),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
}
"""By name, the values that change nothing; routes that have such a parameter take it."""

RENAMED: Mapping[str, str] = {
    "guided_json": "structured_outputs.json",
    "guided_regex": "structured_outputs.regex",
    "guided_choice": "structured_outputs.choice",
    "guided_grammar": "structured_outputs.grammar",
}
"""vLLM's former names, and what it calls them now."""

WITHOUT_EFFECT = frozenset(
    {
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "user",
    }
)
"""Parameters that change no answer anywhere, so that leaving them aside deceives nobody."""


def refuse_renamed(data: Mapping[str, Any]) -> None:
    """Names the present name of a parameter that is asked for by its former one.

    Raises:
        PydanticCustomError: there is such a parameter.
    """
    for key in RENAMED.keys() & data.keys():
        raise PydanticCustomError(
            "unknown_parameter", "this is now called {now}", {"parameter": key, "now": RENAMED[key]}
        )


def without_neutral(data: Mapping[str, Any], neutral: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The parameters without those that ask for nothing.

    Raises:
        PydanticCustomError: names one that asks for something that is not built.
    """
    for key in neutral.keys() & data.keys():
        if not any(_same(data[key], value) for value in neutral[key]):
            raise PydanticCustomError(
                "unsupported_parameter", "this server does not support this parameter yet", {"parameter": key}
            )
    return {key: value for key, value in data.items() if key not in neutral}


def _same(value: Any, neutral: Any) -> bool:
    """Equality that tells False from 0 and True from 1."""
    return type(value) is type(neutral) and bool(value == neutral)
