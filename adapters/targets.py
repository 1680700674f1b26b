"""Which of a base's linear layers a configuration adapts, by PEFT's rules."""

import re
from collections.abc import Collection, Iterator

from adapters.config import ALL_LINEAR, LoraConfig, rank_expression
from adapters.patterns import check_patterns

_FIRST_INDEX = r".*?\.[^.]*\.(?P<idx>\d+)\."


def targeted_modules(config: LoraConfig, modules: Collection[str]) -> tuple[str, ...]:
    """The modules that the configuration adapts, in the order given.

    Args:
        config: the adapter's configuration.
        modules: names of the base's linear layers, the output head left out.

    Raises:
        InvalidAdapterError: one of its patterns is malformed or too slow.
    """
    check_patterns(_expressions(config), modules)
    return tuple(
        module
        for module in modules
        if not _named(config.exclude_modules, module) and _targets(config, module) and _in_layers(config, module)
    )


def _expressions(config: LoraConfig) -> dict[str, str]:
    whole = [text for text in (config.target_modules, config.exclude_modules) if isinstance(text, str)]
    return (
        {text: text for text in whole}
        | {name: _layer_expression(name) for name in config.layers_pattern}
        | {key: rank_expression(key) for key in (*config.rank_pattern, *config.alpha_pattern)}
    )


def _layer_expression(name: str) -> str:
    return rf"(?:^|.*?\.){name}\.(?P<idx>\d+)\."


def _targets(config: LoraConfig, module: str) -> bool:
    targets = config.target_modules
    return (isinstance(targets, str) and targets.lower() == ALL_LINEAR) or _named(targets, module)


def _named(names: tuple[str, ...] | str, module: str) -> bool:
    if isinstance(names, str):
        return bool(names) and re.fullmatch(names, module) is not None
    return any(ending in names for ending in _endings(module))


def _endings(module: str) -> Iterator[str]:
    """`a.b.c`, `b.c`, `c`."""
    while module:
        yield module
        _, _, module = module.partition(".")


def _in_layers(config: LoraConfig, module: str) -> bool:
    if config.layers_to_transform is None:
        return True
    patterns = [_layer_expression(name) for name in config.layers_pattern] or [_FIRST_INDEX]
    match = next((found for pattern in patterns if (found := re.match(pattern, module))), None)
    return match is not None and int(match["idx"]) in config.layers_to_transform
