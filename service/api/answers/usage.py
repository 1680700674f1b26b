"""Tokens counted."""

from collections.abc import Sequence

from service.api.answers.generation import Running
from service.api.schemas.openai import Usage


def usage_of_one(running: Running, new_tokens: int) -> Usage:
    """Of one answer."""
    return Usage.of(len(running.asked.prompt_ids), new_tokens, running.stream.cached_tokens)


def usage_of_all(running: Sequence[Running], new_tokens: int) -> Usage:
    """Of a request; each prompt counts once, by its first choice."""
    first = [each for each in running if each.asked.choice_index == 0]
    return Usage.of(
        prompt_tokens=sum(len(each.asked.prompt_ids) for each in first),
        completion_tokens=new_tokens,
        cached_tokens=sum(each.stream.cached_tokens for each in first),
    )
