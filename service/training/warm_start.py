"""The adapter that a run begins with, instead of matrices of its own."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from adapters.config import LoraConfig
from adapters.files import CONFIG, WEIGHTS, open_plain
from adapters.files import MAX_WEIGHTS_BYTES as MAX_BYTES
from service.registry.opening import open_registry
from service.settings import Settings
from service.training.spec import TrainingSpec
from training.config import AskedConfig
from training.errors import ConfigError

_TAKEN_OVER = ("rank", "alpha", "target_modules", "rslora", "dora")
_ONE_FOR_ALL = ("rank_pattern", "alpha_pattern", "exclude_modules", "layers_to_transform")
_PATH = re.compile(r"[/\\]|^\.")


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """An adapter's folder, and which it is."""

    name: str
    """The pinned version, or the folder."""
    folder: Path
    digest: str
    """`sha256:…`; of a version its own, of a folder from elsewhere that of its weights."""
    config: LoraConfig

    @property
    def lineage(self) -> dict[str, str]:
        """For the version that comes of it."""
        return {"init_from": self.name, "init_digest": self.digest}


def find_start(spec: TrainingSpec, settings: Settings) -> WarmStart | None:
    """What `spec.init_from` names: a folder in PEFT's format, or a version in the registry.

    Raises:
        AdapterError: there is no such version, or the folder's configuration cannot be used.
        ConfigError: there is no such folder.
    """
    if spec.init_from is None:
        return None
    folder = Path(spec.init_from)
    if (folder / CONFIG).is_file():
        with open_plain(folder / WEIGHTS, MAX_BYTES) as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        return WarmStart(name=str(folder), folder=folder, digest=digest, config=LoraConfig.read(folder))
    if _PATH.search(spec.init_from):
        raise ConfigError(f"--init-from {spec.init_from} is no adapter: there is no {CONFIG} in it")
    version = open_registry(settings).resolve(spec.tenant, spec.init_from)
    return WarmStart(
        name=str(version.reference), folder=version.path, digest=version.digest, config=LoraConfig.read(version.path)
    )


def taken_over(config: AskedConfig, start: WarmStart) -> AskedConfig:
    """`config` with the adapter's own rank, alpha, targets and kind.

    Raises:
        ConfigError: something else was asked for, or the adapter has what a run cannot: ranks by module, patterns.
    """
    adapter = start.config
    odd = [name for name in _ONE_FOR_ALL if getattr(adapter, name)]
    if isinstance(adapter.target_modules, str) and adapter.target_modules != "all-linear":
        odd.append("target_modules as a pattern")
    if odd:
        raise ConfigError(f"--init-from {start.name} has {', '.join(odd)}: a run trains one rank on modules by name")
    if config.init != "default":
        raise ConfigError(f"--init {config.init} and --init-from both say where the matrices begin; give one")
    own = {name: getattr(adapter, name) for name in _TAKEN_OVER}
    for name in _TAKEN_OVER:
        asked = getattr(config, name)
        if name in config.model_fields_set and _plain(asked) != _plain(own[name]):
            raise ConfigError(
                f"--{name.replace('_', '-')} {_told(asked)} is not what {start.name} has ({_told(own[name])}); "
                "leave it out: the adapter's own is taken over"
            )
    try:
        return AskedConfig.model_validate({**config.model_dump(), **own})
    except ValidationError as error:
        item = error.errors(include_url=False)[0]
        where = ".".join(map(str, item["loc"]))
        raise ConfigError(f"--init-from {start.name}: {where} {item['input']!r}: {item['msg']}") from error


def _plain(value: object) -> object:
    return frozenset(value) if isinstance(value, tuple) else value


def _told(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
