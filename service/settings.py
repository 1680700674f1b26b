"""Every setting of lorad, read from `LORAD_*` environment variables here and nowhere else."""

from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.objects.opening import is_remote

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
    """SQLAlchemy URL of the registry; default a SQLite file in `$LORAD_HOME`.
    `postgresql+pg8000://user:password@host/name` where several machines share it."""
    storage_url: str | None = Field(default=None, min_length=1)
    """Where uploaded files, checkpoints and adapter versions lie; default `$LORAD_HOME`. A folder, or a URL such as
    `s3://bucket/prefix` that several machines share; then adapters are cached in `$LORAD_HOME/cache/adapters`."""
    adapter_cache_bytes: int = Field(default=20 << 30, ge=1 << 20)
    """Of that cache; adapters used least recently leave it."""

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

    judge_url: str | None = Field(default=None, pattern=r"^https?://")
    """An OpenAI-compatible server, up to and with `/v1`: its model judges answers and writes data where these ask for
    it. No client can name another."""
    judge_model: str | None = Field(default=None, min_length=1, max_length=255)
    """The model to ask for there."""
    judge_api_key: SecretStr | None = None
    """The key to send there, if any."""

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
    max_file_bytes: int = Field(default=512 << 20, ge=1024)
    """Of a file to train on."""
    max_files: int = Field(default=1000, ge=1)
    """Files that a tenant may keep."""
    max_jobs: int = Field(default=100, ge=1)
    """Jobs of a tenant that may wait or run."""
    workers: int = Field(default=1, ge=0, le=64)
    """Finetuning jobs that the server's own worker runs at once; 0 leaves them to `lorad worker` elsewhere."""
    max_running_jobs: int = Field(default=1000, ge=1)
    """Jobs of one tenant that run at once, on all workers together."""
    lease_seconds: float = Field(default=60, ge=1, le=3600)
    """A worker that the database has not heard of for so long has lost its jobs to others."""
    job_threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads of a job's trainer; default all, behind the server's by `job_niceness`."""
    job_niceness: int = Field(default=10, ge=0, le=19)
    """How far trainers stand back behind the server on the CPU."""
    min_free_memory_bytes: int = Field(default=0, ge=0)
    """When less memory is free, jobs write a checkpoint and wait, so that serving has it; 0: never."""
    job_retry_seconds: float = Field(default=60, ge=0, le=86_400)
    """Before a job that made room for serving, or whose worker met an error, is tried again."""
    trainer_stop_seconds: float = Field(default=300, ge=1, le=86_400)
    """A trainer that was asked to stop, and has not written its checkpoint by then, is killed; its job goes on from the
    checkpoint before."""
    webhook_url: str | None = Field(default=None, pattern=r"^https?://")
    """Told when a job has succeeded, failed or been cancelled."""
    webhook_secret: SecretStr | None = None
    """`whsec_…`: what the webhook's messages are signed with."""
    keep_versions: int | None = Field(default=None, ge=1, le=1_000_000)
    """Newest versions of an adapter that are kept after a publication, beside those that an alias, a pin or a running
    answer needs. Default all; an adapter may have a number of its own."""
    signing_key: SecretStr | None = None
    """Private key that exported archives are signed with, as `lorad keys generate` writes it."""
    signing_key_file: Path | None = None
    """A file that holds `signing_key`, for secrets that are mounted."""
    trusted_keys: str = ""
    """`name=ed25519:…,…`: whose archives are imported."""
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
        for name in ("judge_url", "webhook_url"):
            value = getattr(self, name)
            if value is not None and "@" in urlsplit(value).netloc:
                raise ValueError(f"{name} holds a user or password; give the key as a setting of its own")
        if (self.judge_url is None) != (self.judge_model is None):
            raise ValueError("judge_url and judge_model go together: set both or neither")
        if self.webhook_url is not None and self.webhook_secret is None:
            raise ValueError("webhook_url needs webhook_secret: receivers could not trust messages without a signature")
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
    def storage(self) -> Path:
        """The folder that `storage_url` names, where it names one."""
        return Path(self.storage_url).expanduser().absolute() if self.storage_url else self.home

    @cached_property
    def objects(self) -> str:
        """Folder or URL of the object store."""
        if self.storage_url and is_remote(self.storage_url):
            return self.storage_url
        return str(self.storage / "objects")

    @cached_property
    def adapters(self) -> Path:
        """Where this machine has adapter versions: all of them, or those it has used where storage is remote."""
        return self.home / "cache" / "adapters" if is_remote(self.objects) else self.storage / "adapters"

    @cached_property
    def file_cache(self) -> Path:
        """Where this machine keeps copies of stored files; may be removed while nothing runs."""
        return self.home / "cache" / "files"

    @cached_property
    def job_workspaces(self) -> Path:
        """Where trainers of this machine's workers write; may be removed while nothing runs."""
        return self.home / "cache" / "jobs"

    @cached_property
    def token_cache(self) -> Path:
        """Where training rows are kept as tokens; may be removed at any time."""
        return self.home / "cache" / "tokens"

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
