"""Every setting of lorad, read from `LORAD_*` environment variables here and nowhere else."""

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DEFAULT_MODEL = "smollm2-135m-instruct"


class Settings(BaseSettings):
    """The environment's settings; command line flags override them through `Settings(field=value)`."""

    model_config = SettingsConfigDict(env_prefix="LORAD_", frozen=True, extra="forbid", use_attribute_docstrings=True)

    home: Path = Path("~/.local/share/lorad")
    """Where the registry, adapters and bases live."""
    base_model: str = DEFAULT_MODEL
    """Catalogue name, local folder or hub id of the base."""
    base_home: Path | None = None
    """Where catalogue bases live; default `$LORAD_HOME/bases`."""
    served_model_name: str | None = Field(default=None, min_length=1, max_length=255)
    """The base's public id; default its catalogue name, hub id or the folder's name."""
    database_url: str | None = None
    """SQLAlchemy URL of the registry; default a SQLite file in `$LORAD_HOME`."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: CUDA where there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: float32 on the CPU, bfloat16 on CUDA."""
    quantization: Literal["none", "int8", "nf4"] = "none"
    """Of the base's linear layers, in every command that loads it."""

    tenant: str = Field(default="default", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """Whose adapters the commands that work in their own process see and publish."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """0 takes a free one."""
    server: str | None = None
    """URL of a running server that commands should use instead of working in their own process."""
    api_key: str | None = None
    """The key that commands send to `server`."""
    api_keys: str = ""
    """`tenant=key,…`, or `tenant:scope=key` for a key of one scope (infer, train, admin).
    Empty: one tenant `default`, and only loopback addresses may be served."""

    mlflow_tracking_uri: str | None = None
    """For `lorad train --tracker mlflow`: a server's URL or `sqlite:///FILE`; default a file in `$LORAD_HOME`."""
    trackio_server_url: str | None = None
    """A trackio server with its write token, for `--tracker trackio`; default trackio's database on this machine."""
    tracker_project: str = Field(default="lorad", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """The experiment or project that trackers file runs under."""

    max_loras: int = Field(default=16, ge=0, le=4096)
    """Adapters on the device at once; 0 serves the base alone."""
    max_cpu_loras: int = Field(default=64, ge=0, le=1_000_000)
    """Adapters in host memory at once, those on the device included; at least `max_loras`."""
    max_lora_rank: int = Field(default=256, ge=1, le=2048)
    """A larger rank is refused at upload and import."""
    max_num_seqs: int = Field(default=32, ge=1, le=4096)
    """Requests that run at once."""
    max_num_batched_tokens: int = Field(default=2048, ge=16, le=1 << 20)
    """Tokens of one step; longer prompts are computed in chunks. At least `max_num_seqs`."""
    kv_cache_memory_bytes: int = Field(default=1 << 30, ge=1 << 20)
    """Of the keys and values of all running and cached tokens together."""
    enable_prefix_caching: bool = True
    """Compute the common beginning of prompts once, for each tenant and adapter."""
    fused: bool = True
    """Fused modules for known architectures, and compiled functions on a CPU; off: the reference path."""
    request_timeout: float = Field(default=600, gt=0, le=86_400)
    """Seconds from submission after which a request fails; a request may ask for less."""
    max_waiting: int = Field(default=1024, ge=1, le=1_000_000)
    """Requests that may wait to run; one more gets 429."""
    max_new_tokens: int = Field(default=4096, ge=1)
    """The most a request may ask for."""
    default_max_tokens: int = Field(default=256, ge=1)
    """New tokens where a request does not say."""
    max_body_bytes: int = Field(default=4 << 20, ge=1024)
    """Of a JSON request."""
    max_upload_bytes: int = Field(default=2 << 30, ge=1024)
    """Of an adapter archive."""
    shutdown_timeout: float = Field(default=30, ge=0)
    """Seconds that running requests get to end after SIGTERM."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Of the server's log, JSON lines on stderr."""

    @field_validator("home", "base_home")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @model_validator(mode="after")
    def _check_bounds(self) -> "Settings":
        if "max_cpu_loras" in self.model_fields_set and self.max_cpu_loras < self.max_loras:
            raise ValueError(
                f"max_cpu_loras is {self.max_cpu_loras}, less than the {self.max_loras} of max_loras: "
                "every adapter on the device is in host memory too"
            )
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens is {self.max_num_batched_tokens}, less than the {self.max_num_seqs} of "
                "max_num_seqs: each running request takes one token of a step"
            )
        return self

    @cached_property
    def num_cpu_loras(self) -> int:
        """`max_cpu_loras`, or as many as `max_loras` where only that was raised."""
        return max(self.max_cpu_loras, self.max_loras)

    @cached_property
    def bases(self) -> Path:
        """Where catalogue bases live."""
        return self.base_home or self.home / "bases"

    @cached_property
    def adapters(self) -> Path:
        """Where adapter versions live."""
        return self.home / "adapters"

    @cached_property
    def mlflow_uri(self) -> str:
        """Where MLflow runs are recorded."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.home / 'mlflow.db'}"

    @cached_property
    def datasets(self) -> Path:
        """Where the operator puts data files that evaluations may name: `datasets/<tenant>/<name>`."""
        return self.home / "datasets"

    @cached_property
    def registry_url(self) -> str:
        """SQLAlchemy URL of the registry."""
        return self.database_url or f"sqlite:///{self.home / 'lorad.db'}"
