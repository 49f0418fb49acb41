"""What can be set, read once from the environment: one frozen `Settings` for every process."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from service.environ import SettingsError, meta_of, parse, text_of

PREFIX = "NTM_"
ENGINE_SOCKET = "NTM_ENGINE_SOCKET"  # internal: from the supervisor to its children
LIFELINE_FD = "NTM_LIFELINE_FD"  # internal: read by service/lifeline.py, no setting
OTHERS = frozenset({LIFELINE_FD, "NTM_URL", "NTM_API_KEY"})  # the latter two are the client's
ZOO = str(Path(__file__).resolve().parent.parent / "model" / "zoo")
DAY_S = 86_400.0
YEAR_S = 366 * DAY_S


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting with its meaning, unit and default. `NTM_PORT` sets `port`, and so on."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65535, description="TCP port to listen on; 0 draws a free one.")
    ] = 8000
    models: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="Folders, separated by colons: each a bundle, a folder of bundles, or a "
            "zoo of <name>/bundle. Default: the zoo that comes with the package.",
        ),
    ] = (ZOO,)
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Meta(
            description="Where models run; auto takes CUDA where the runtime offers it. A bundle "
            "with sparsely updated state runs on the CPU."
        ),
    ] = "auto"
    runtime: Annotated[
        Literal["auto", "onnx", "torchscript", "aot", "fused"],
        Meta(
            description="What runs a bundle; auto is what `ntm compile` has built of it for this "
            "machine, on the CPU, else ONNX Runtime."
        ),
    ] = "auto"
    cache: Annotated[
        str,
        Meta(
            description="Folder of what `ntm compile` builds; empty: ntm-serve in "
            "$XDG_CACHE_HOME or ~/.cache."
        ),
    ] = ""
    store: Annotated[
        str,
        Meta(
            title="memory, sqlite:///absolute/path.db or redis://host:port/db",
            pattern=r"^(memory|sqlite:///.+|rediss?://.+)$",
            description="Where sessions are kept: memory, which loses them when the engine stops, "
            "sqlite:///absolute/path.db or redis://host:port/db.",
        ),
    ] = "memory"
    durability: Annotated[
        Literal["sync", "async", "off"],
        Meta(
            description="What an answer waits for: sync that the store has it on disk; async that "
            "it will within NTM_ASYNC_WINDOW_S, which a crash may lose; off nothing: a crash may "
            "lose the last 5 seconds, a power cut more. Memory commits at once under all three."
        ),
    ] = "sync"
    sqlite_sync: Annotated[
        Literal["full", "normal"],
        Meta(
            description="What sync means on SQLite: full survives a power cut; normal survives a "
            "crash of the process, and a power cut may take the last commits."
        ),
    ] = "full"
    async_window_s: Annotated[
        float,
        Meta(gt=0, le=60, description="Seconds of acknowledged changes that async may lose."),
    ] = 0.1
    redis_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=600,
            description="Seconds that one call to Redis may take, reconnecting included; then 503.",
        ),
    ] = 5.0
    redis_password_file: Annotated[
        str,
        Meta(
            description="File with the password of Redis, read anew for every connection, for the "
            "user that NTM_STORE names where it names one; empty: what NTM_STORE says."
        ),
    ] = ""
    redis_trust_durability: Annotated[
        bool,
        Meta(
            description="1 takes a Redis that does not tell its settings (CONFIG disabled) for one "
            "with appendonly yes, appendfsync always, no-appendfsync-on-rewrite no and "
            "maxmemory-policy noeviction; where it is not, a crash of it loses acknowledged steps."
        ),
    ] = False
    kept_replies: Annotated[
        int,
        Meta(ge=1, le=1024, description="Latest replies kept a session, for repeats of their key."),
    ] = 16
    history_rows: Annotated[
        int,
        Meta(ge=0, le=1 << 20, description="Latest rows kept a session, to read and rewind to."),
    ] = 1000
    tombstone_s: Annotated[
        float,
        Meta(ge=0, le=YEAR_S, description="Seconds an expired session answers 410, then 404."),
    ] = DAY_S
    slots: Annotated[
        int, Meta(ge=3, le=1 << 20, description="Session states on the device, a model.")
    ] = 256
    max_batch: Annotated[
        int, Meta(ge=1, le=4096, description="Sessions stepped by one call of the runtime.")
    ] = 32
    max_queue: Annotated[
        int, Meta(ge=1, le=1 << 20, description="Requests waiting, a model; more get 429.")
    ] = 4096
    request_timeout_s: Annotated[
        float, Meta(gt=0, le=DAY_S, description="Seconds a request may take; then 504.")
    ] = 30.0
    idle_ttl_s: Annotated[
        float,
        Meta(gt=0, le=YEAR_S, description="Seconds after its last commit at which a session ends."),
    ] = DAY_S
    max_sessions: Annotated[int, Meta(ge=1, description="Live sessions; more get 429.")] = 100_000
    max_body_bytes: Annotated[
        int, Meta(ge=1024, le=1 << 30, description="Bytes of a request's body; more get 413.")
    ] = 8 * 1024 * 1024
    max_expanded_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            le=1 << 30,
            description="Bytes of a compressed body once it is expanded; more get 413.",
        ),
    ] = 8 * 1024 * 1024
    max_depth: Annotated[
        int,
        Meta(
            ge=10,
            le=512,
            description="Lists and objects within one another in a JSON body; more get 400.",
        ),
    ] = 32
    max_rows: Annotated[
        int, Meta(ge=1, le=1 << 20, description="Rows of one request; more get 413.")
    ] = 4096
    checkpoint_rows: Annotated[
        int,
        Meta(
            ge=1,
            le=1 << 20,
            description="Rows a session steps until its state is stored anew; up to 64 times as "
            "many where a row changes little of it.",
        ),
    ] = 8
    host_state_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="Bytes of session state held in memory off the device; the least recently "
            "used go to the store.",
        ),
    ] = 1 << 30
    device_state_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="Bytes of session state on the device, all models together; 0 leaves it "
            "to NTM_SLOTS.",
        ),
    ] = 0
    max_snapshots: Annotated[
        int, Meta(ge=0, description="Snapshots a session keeps; more get 429.")
    ] = 64
    max_reply_bytes: Annotated[
        int,
        Meta(ge=64, description="Bytes of one answer's outputs, kept for a repeat; more get 413."),
    ] = 1 << 20
    keys: Annotated[
        str,
        Meta(
            description="File of the API keys, which `ntm keys` writes and a server reads anew "
            "when it changes; empty: everybody may do everything, and no tenant has limits of its "
            "own."
        ),
    ] = ""
    serve_without_keys: Annotated[
        bool,
        Meta(
            description="1 listens without keys where other machines can reach it too: whoever "
            "does may do everything."
        ),
    ] = False
    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(
            extra={"separator": ","},
            description="Names by which the server may be called, with commas between them, "
            "*.example.com for all below it; empty: any, but on loopback without keys only its "
            "own, so that no page can reach it by a name that was made to mean 127.0.0.1.",
        ),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        Meta(
            extra={"separator": ","},
            description="Origins whose pages may call the server from a browser, with commas "
            "between them, like https://app.example.com; empty: none but its own.",
        ),
    ] = ()
    tls_cert: Annotated[
        str, Meta(description="Certificate chain in PEM: the server then speaks TLS alone.")
    ] = ""
    tls_key: Annotated[str, Meta(description="Its private key in PEM.")] = ""
    tenant_sessions: Annotated[
        int, Meta(ge=1, description="Live sessions of a tenant; more get 429.")
    ] = 10_000
    tenant_state_bytes: Annotated[
        int,
        Meta(
            ge=1,
            description="Bytes of the states of a tenant's live sessions, one a session; more "
            "get 429.",
        ),
    ] = 1 << 30
    tenant_requests_s: Annotated[
        float,
        Meta(
            gt=0,
            description="Requests a second of a tenant, a front process, frames of a stream too; "
            "more get 429.",
        ),
    ] = 10_000.0
    tenant_streams: Annotated[
        int, Meta(ge=0, description="Open streams of a tenant, a front process; more get 429.")
    ] = 128
    tenant_queue_share: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Share of NTM_MAX_QUEUE that one tenant's waiting requests may take; more "
            "get 429.",
        ),
    ] = 0.5
    grpc_port: Annotated[
        int,
        Meta(ge=0, le=65535, description="TCP port for gRPC, with the grpc extra; 0 is none."),
    ] = 0
    max_streams: Annotated[
        int,
        Meta(
            ge=0,
            description="Open WebSockets, event streams and gRPC streams, a front process; more "
            "get 429.",
        ),
    ] = 1024
    stream_rows: Annotated[
        int,
        Meta(
            ge=1,
            le=1 << 20,
            description="Rows that came over one WebSocket and are not answered yet; with as many "
            "no more are read from it.",
        ),
    ] = 256
    fronts: Annotated[int, Meta(ge=1, le=64, description="Front processes.")] = 1
    drain_s: Annotated[
        float,
        Meta(ge=0, le=3600, description="Seconds that open requests have to finish on SIGTERM."),
    ] = 30.0
    trust_code: Annotated[
        bool,
        Meta(description="1 lets bundles run TorchScript, which is a program, not data."),
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least level logged.")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"],
        Meta(description="How lines are logged: text for people, json for what gathers logs."),
    ] = "text"
    access_log: Annotated[
        bool, Meta(description="1 logs a line a request, without paths, queries or headers.")
    ] = False
    traces: Annotated[
        bool,
        Meta(
            description="1 sends OpenTelemetry spans to where OTEL_EXPORTER_OTLP_ENDPOINT says, "
            "with the otel extra."
        ),
    ] = False
    threads: Annotated[int, Meta(ge=1, le=1024, description="Threads of one runtime.")] = 1
    engine_socket: Annotated[
        str, Meta(description="Internal: the engine's Unix socket, set by the supervisor.")
    ] = ""

    @property
    def queue_share(self) -> float:
        """What one tenant may take of the queue: without keys there is only one."""
        return self.tenant_queue_share if self.keys else 1.0

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """The settings of `environ`. Raises SettingsError for an unknown or unusable variable."""
        values: dict[str, Any] = {}
        for variable, text in environ.items():
            if not variable.startswith(PREFIX) or variable in OTHERS:
                continue
            name = variable.removeprefix(PREFIX).lower()
            if name not in cls.__struct_fields__ or variable != variable_of(name):
                raise SettingsError(_unknown(variable))
            values[name] = parse(variable, text, _HINTS[name])
        return cls(**values)

    def to_env(self) -> dict[str, str]:
        """The variables that give these settings again."""
        return {
            variable_of(name): text_of(getattr(self, name), _HINTS[name])
            for name in self.__struct_fields__
            if name != "engine_socket" or self.engine_socket
        }


_HINTS: dict[str, Any] = get_type_hints(Settings, include_extras=True)


def variable_of(name: str) -> str:
    """The environment variable of a field."""
    return PREFIX + name.upper()


def table() -> list[tuple[str, str, str]]:
    """Each public setting: variable, default, meaning."""
    return [
        (
            variable_of(field.name),
            text_of(field.default, _HINTS[field.name]) or "none",
            meta_of(_HINTS[field.name]).description or "",
        )
        for field in msgspec.structs.fields(Settings)
        if variable_of(field.name) != ENGINE_SOCKET
    ]


def _unknown(variable: str) -> str:
    known = [name for name, _, _ in table()]
    close = difflib.get_close_matches(variable, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "known are " + ", ".join(known)
    return f"{variable}: there is no such setting; {hint}"
