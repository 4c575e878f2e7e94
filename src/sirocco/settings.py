"""All settings of a server, read once: flag, then environment, then file, then default.

The environment's names begin with SIROCCO_; the file is `settings.toml` in SIROCCO_HOME.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from sirocco.api.connection_limits import ConnectionLimits
from sirocco.engine.config import EngineConfig
from sirocco.errors import ConfigError
from sirocco.home import default_home, expanded
from sirocco.store.address import parse_url, shown_url
from sirocco.store.batches import BatchLimits
from sirocco.store.limits import Limits
from sirocco.wire.json_shape import MAX_VALUES

_HIDDEN = "a hidden value"

_Folder = Annotated[Path, AfterValidator(expanded)]


class Settings(BaseSettings):
    """What a server is told; each default stands here and nowhere else."""

    model_config = SettingsConfigDict(
        env_prefix="SIROCCO_", env_ignore_empty=True, extra="forbid", frozen=True,
        hide_input_in_errors=True,  # the database URL may hold a password
    )  # fmt: skip

    home: _Folder = Field(default_factory=default_home, description="folder for all state")
    database_url: str | None = Field(None, description="SQLAlchemy URL; SQLite in home without it")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8787, ge=0, le=65_535, description="0 takes a free one")
    stand_in: bool = Field(False, description="the embedded model answers for absent ones")
    models: dict[str, _Folder] = Field(default_factory=dict, description="model id to folder")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where tensors live")
    gpus: int = Field(1, ge=1, le=64, description="GPUs that share each model")
    weights: Literal["auto", "float32", "bfloat16", "q8", "q4", "fp8", "int4"] = Field(
        "auto", description="number format"
    )
    max_seq_len: int | None = Field(None, ge=1, description="tokens of a request; model's own")
    kv_cache_bytes: int | None = Field(None, ge=1, description="size of each model's KV cache")
    block_size: int = Field(16, ge=1, le=1024, description="positions in a block")
    attention: Literal["auto", "native", "triton", "flashinfer", "sdpa"] = Field(
        "auto", description="what computes attention"
    )
    kv_format: Literal["auto", "float32", "float16", "bfloat16", "int8", "fp8"] = Field(
        "auto", description="how keys and values are kept"
    )
    threads: int | None = Field(None, ge=1, le=1024, description="of a kernel; one per processor")
    n_guesses: int = Field(4, ge=0, le=64, description="tokens guessed and checked in a step")
    max_step_tokens: int = Field(512, ge=1, description="tokens that one step computes")
    step_target_s: float = Field(0.05, gt=0, description="time that a step should take")
    prefix_cache: bool = Field(True, description="compute a common beginning once")
    max_running: int = Field(64, ge=1, description="answers computed at the same time")
    max_waiting: int = Field(256, ge=1, description="requests that may wait")
    daily_neurons: float = Field(0, ge=0, le=1e12, description="of an account; 0 is no limit")
    daily_tokens: int = Field(0, ge=0, le=10**12, description="of an account; 0 is no limit")
    per_minute: int = Field(0, ge=0, le=100_000, description="requests of an account; 0: no limit")
    inspect_max_tokens: int = Field(512, ge=1, le=2048, description="tokens of an inspection")
    batch_running: int = Field(4, ge=0, le=1024, description="requests of batches run at once")
    batch_requests: int = Field(1000, ge=1, le=100_000, description="requests of one batch")
    batch_waiting: int = Field(
        10_000, ge=1, le=10_000_000, description="requests of an account that wait in batches"
    )
    batch_waiting_bytes: int = Field(
        134_217_728, ge=1024, description="bytes of the requests that wait"
    )
    batch_keep_s: float = Field(
        86_400.0, gt=0, le=31_536_000, description="time that results are kept"
    )
    max_body_bytes: int = Field(8_388_608, ge=1024, description="bytes of a request body")
    max_body_values: int = Field(
        MAX_VALUES, ge=100, le=10_000_000, description="JSON values of a request body"
    )
    max_header_bytes: int = Field(65_536, ge=1024, le=1_048_576, description="of a request")
    max_headers: int = Field(100, ge=8, le=10_000, description="headers of a request")
    max_connections: int = Field(0, ge=0, description="at once; 0: as open files allow")
    grammar_time_s: float = Field(
        0.25, gt=0, le=5, description="time on a processor that a schema may take"
    )
    header_timeout_s: float = Field(
        8.0, gt=0, le=3600, description="time in which a header has to be whole"
    )
    body_timeout_s: float = Field(
        20.0, gt=0, le=3600, description="time in which a small body has to be whole"
    )
    body_bytes_per_s: int = Field(
        4096, ge=1, description="bytes that a larger body has to bring for each second more"
    )
    keep_alive_s: float = Field(
        75.0, gt=0, le=3600, description="time that a connection may be without a request"
    )
    reader_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="time in which a client has to take some of its answer"
    )
    queue_timeout_s: float = Field(
        60.0, gt=0, le=86_400, description="time in which an answer has to begin"
    )
    time_limit_s: float = Field(
        600.0, gt=0, le=86_400, description="time in which an answer has to be whole"
    )
    step_timeout_s: float = Field(
        120.0, gt=0, le=86_400, description="time after which an engine's step hangs"
    )
    shutdown_s: int = Field(10, ge=0, le=3600, description="time that live answers get to end")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "json"] = Field("auto", description="auto: text on a tty")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put flags over the environment, and both over the file."""
        file = default_home() / "settings.toml"
        try:
            file_settings = TomlConfigSettingsSource(settings_cls, file)
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{file} cannot be read: {error}") from error
        return init_settings, env_settings, file_settings

    @property
    def resolved_database_url(self) -> str:
        """The database's URL; it may hold a password."""
        return self.database_url or f"sqlite:///{self.home / 'sirocco.db'}"

    @property
    def models_folder(self) -> Path:
        """Where checkpoints of the catalogue's models are looked for."""
        return self.home / "models"

    @property
    def catalog_file(self) -> Path:
        """The user's own list of models, if there is one."""
        return self.home / "catalog.toml"

    @property
    def engine(self) -> EngineConfig:
        """The part that an engine needs. Raises: ConfigError."""
        return EngineConfig(
            max_seq_len=self.max_seq_len,
            block_size=self.block_size,
            kv_cache_bytes=self.kv_cache_bytes,
            max_step_tokens=self.max_step_tokens,
            max_running=self.max_running,
            max_waiting=self.max_waiting,
            attention=self.attention,
            kv_format=self.kv_format,
            n_guesses=self.n_guesses,
            step_target_s=self.step_target_s,
            prefix_cache=self.prefix_cache,
        )

    def connection_limits(self, max_open: int) -> ConnectionLimits:
        """Say what a connection may take, where no more than `max_open` can be open at once."""
        return ConnectionLimits(
            max_header_bytes=self.max_header_bytes,
            max_headers=self.max_headers,
            header_timeout_s=self.header_timeout_s,
            body_timeout_s=self.body_timeout_s,
            body_bytes_per_s=self.body_bytes_per_s,
            keep_alive_s=self.keep_alive_s,
            reader_timeout_s=self.reader_timeout_s,
            max_connections=min(self.max_connections or max_open, max_open),
        )

    @property
    def batch_limits(self) -> BatchLimits:
        """How much of an account may wait in batches, and how long."""
        return BatchLimits(self.batch_waiting, self.batch_waiting_bytes, self.batch_keep_s)

    @property
    def batch_places(self) -> int:
        """Requests of batches that run at once: never more than half of what a model runs."""
        return min(self.batch_running, max(1, self.max_running // 2))

    @property
    def limits(self) -> Limits:
        """What accounts may use that have no limits of their own."""
        return Limits(self.daily_neurons, self.daily_tokens, self.per_minute)

    def shown(self) -> dict[str, Any]:
        """Every setting as it was resolved, passwords masked."""
        database_url = _without_password(self.resolved_database_url)
        return self.model_dump(mode="json") | {"database_url": database_url}


def load_settings(**flags: object) -> Settings:
    """Read the settings; flags that are None are as good as not given.

    Raises: ConfigError naming each bad setting, its value and what it may be.
    """
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(e) for e in error.errors())) from error
    except (ValueError, RecursionError) as error:  # broken JSON in a variable
        raise ConfigError(f"the settings cannot be read: {error}") from error
    _ = settings.engine  # its numbers depend on each other
    return settings


def _without_password(url: str) -> str:
    try:
        return shown_url(parse_url(url))
    except ConfigError:  # it is refused where the database is opened
        return _HIDDEN


def _sentence(error: Any) -> str:
    name = ".".join(str(step) for step in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"there is no setting {name!r}"
    shown = _HIDDEN if name == "database_url" else repr(error["input"])
    return f"{name}: {error['msg']}, got {shown}"
