"""Which server, which key, which proxy: found where wandb and weave find theirs, and anew at each use.

Nothing found here is kept beyond the next request, so a key may rotate in its file, in netrc or, for an
embedded bridge, in the environment. What the settings say goes before everything that is found.
"""

from __future__ import annotations

import base64
import configparser
import hmac
import netrc
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Self
from urllib.parse import urlsplit

from otel_wandb.errors import ConfigError, CredentialError
from otel_wandb.settings import Settings

DEFAULT_BASE_URL: Final = "https://api.wandb.ai"
DEFAULT_TRACE_URL: Final = "https://trace.wandb.ai"

_SAME_SERVER: Final = {
    "api.wandb.ai": ("api.forge.coreweave.com", "forge.coreweave.com"),
    "api.forge.coreweave.com": ("api.wandb.ai",),
    "forge.coreweave.com": ("api.wandb.ai",),
}
"""Names of one deployment: `wandb login` may have noted the key under another one than weave asks for."""

_FORGE: Final = dict.fromkeys(("api.forge.coreweave.com", "forge.coreweave.com"), "forge.coreweave.com")

_OFFLINE_MODES: Final = ("offline", "dryrun", "disabled")


class Secret:
    """An API key that shows itself to nobody who does not ask for it by `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself."""
        return self._value

    def basic_authorization(self) -> str:
        """The value of the `Authorization` header that W&B expects."""
        return "Basic " + base64.b64encode(f"api:{self._value}".encode()).decode()

    def __repr__(self) -> str:
        return "Secret(***)"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")


@dataclass(frozen=True, slots=True)
class WeaveTarget:
    """Where Weave is and how to get in, as found a moment ago."""

    base_url: str
    """The W&B application: GraphQL, for projects and the default entity."""
    trace_url: str
    """The trace server."""
    api_key: Secret | None
    key_origin: str
    """Where the key was found, for messages."""
    entity: str
    """The entity of what names none itself; empty: the one that the key belongs to."""
    proxy: str
    """The proxy to use; empty: as the standard environment variables say."""
    verify_tls: bool
    offline: str
    """Why nothing may be sent, and what to do about it; empty when something may."""

    @classmethod
    def find(cls, settings: Settings, environ: Mapping[str, str] = os.environ) -> Self:
        """What the settings, the environment, netrc and the settings files of wandb say now.

        Raises:
            ConfigError: the address cannot be W&B's API.
            CredentialError: the place that should hold the key cannot be read.
        """
        noted = read_wandb_settings(environ)
        base_url = _base_url(settings, environ, noted)
        mode = _mode(settings, environ, noted)
        if mode == "offline":
            key, origin, offline = None, "", "the mode is offline; everything stays in the local store"
        else:
            key, origin = find_api_key(base_url, settings.api_key_file, environ, noted)
            offline = "" if key else _missing_key(base_url, environ)
        trace_url = _trace_url(settings, environ, base_url)
        return cls(
            base_url=base_url,
            trace_url=trace_url,
            api_key=key,
            key_origin=origin,
            entity=settings.entity or environ.get("WANDB_ENTITY", "") or noted.get("entity", ""),
            proxy=settings.proxy or _proxy(trace_url, environ, noted),
            verify_tls=not _is_true(environ, "WEAVE_INSECURE_DISABLE_SSL", "WANDB_INSECURE_DISABLE_SSL"),
            offline=offline,
        )


def find_api_key(
    base_url: str,
    api_key_file: str = "",
    environ: Mapping[str, str] = os.environ,
    noted: Mapping[str, str] | None = None,
) -> tuple[Secret | None, str]:
    """The key for the server and where it was found: file, environment, netrc, or settings of wandb.

    Raises:
        CredentialError: `api_key_file` is set, but no key can be read from it.
    """
    if api_key_file:
        return _read_key_file(Path(api_key_file)), api_key_file
    if key := environ.get("WANDB_API_KEY", "").strip():
        return Secret(key), "WANDB_API_KEY"
    for path in _netrc_paths(environ):
        if key := _read_netrc(path, base_url):
            return Secret(key), str(path)
    noted = read_wandb_settings(environ) if noted is None else noted
    if (key := noted.get("api_key", "").strip()) and noted.get("base_url", base_url).rstrip("/") == base_url:
        return Secret(key), "the settings file of wandb"
    return None, ""


def is_offline_mode(settings: Settings, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the user wishes that nothing is sent, whether or not there is a key."""
    return _mode(settings, environ, read_wandb_settings(environ)) == "offline"


def app_url(base_url: str, environ: Mapping[str, str] = os.environ) -> str:
    """Where the pages for the browser are, by the address of the API, as wandb has it."""
    if url := environ.get("WANDB_APP_URL", ""):
        return url.rstrip("/")
    parts = urlsplit(base_url)
    if parts.hostname in _FORGE:
        return f"https://{_FORGE[parts.hostname]}/wandb"
    if parts.netloc.startswith("api.wandb."):
        return f"{parts.scheme}://{parts.netloc.removeprefix('api.')}"
    if parts.netloc.startswith("api."):
        return f"{parts.scheme}://app.{parts.netloc.removeprefix('api.')}"
    return base_url.rstrip("/")


def read_wandb_settings(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What `wandb login`, `wandb offline` and `wandb init` have noted; a workspace's file wins."""
    home = Path(environ.get("WANDB_CONFIG_DIR") or _home(environ) / ".config" / "wandb")
    workspace = Path(environ.get("WANDB_DIR") or ".")
    hidden = workspace / ".wandb"
    found: dict[str, str] = {}
    for path in (home / "settings", (hidden if hidden.is_dir() else workspace / "wandb") / "settings"):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path)
            found.update(parser.items("default"))
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue  # wandb ignores a file that it cannot read, too
    return found


def _base_url(settings: Settings, environ: Mapping[str, str], noted: Mapping[str, str]) -> str:
    url = settings.base_url or environ.get("WANDB_BASE_URL", "") or noted.get("base_url", "")
    url = (url or DEFAULT_BASE_URL).rstrip("/")
    host = urlsplit(url).hostname or ""
    if host in ("wandb.ai", "www.wandb.ai", "app.wandb.ai"):
        raise ConfigError(f"{url} is the web site, not the API of W&B; set WANDB_BASE_URL={DEFAULT_BASE_URL}")
    if not host or not url.startswith(("http://", "https://")):
        raise ConfigError(f"the address of W&B is {url!r}; it must begin with http:// or https://")
    return url


def _trace_url(settings: Settings, environ: Mapping[str, str], base_url: str) -> str:
    if url := settings.trace_url or environ.get("WF_TRACE_SERVER_URL", ""):
        return url.rstrip("/")
    public = environ.get("WANDB_PUBLIC_BASE_URL", "").rstrip("/") or base_url
    return DEFAULT_TRACE_URL if public == DEFAULT_BASE_URL else public + "/traces"


def _mode(settings: Settings, environ: Mapping[str, str], noted: Mapping[str, str]) -> str:
    if settings.mode != "auto":
        return settings.mode
    mode = environ.get("WANDB_MODE", "") or noted.get("mode", "")
    return "offline" if mode.lower() in _OFFLINE_MODES else "online"


def _proxy(url: str, environ: Mapping[str, str], noted: Mapping[str, str]) -> str:
    name = f"{urlsplit(url).scheme}_proxy"
    return environ.get(f"WANDB_{name.upper()}", "") or noted.get(name, "")


def _is_true(environ: Mapping[str, str], *names: str) -> bool:
    return any(environ.get(name, "").lower() in ("true", "1") for name in names)


def _missing_key(base_url: str, environ: Mapping[str, str]) -> str:
    if environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return (
            "WANDB_IDENTITY_TOKEN_FILE is set, but identity tokens are not supported yet; "
            "set WANDB_API_KEY or api_key_file"
        )
    return (
        f"no API key for {base_url}; set WANDB_API_KEY, or api_key_file, or run `wandb login`. "
        "Until then everything stays in the local store"
    )


def _read_key_file(path: Path) -> Secret:
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise CredentialError(f"the API key cannot be read from api_key_file {path}: {reason}") from None
    if not key or len(key.split()) != 1:
        raise CredentialError(f"api_key_file {path} must hold the API key and nothing else")
    return Secret(key)


def _netrc_paths(environ: Mapping[str, str]) -> Iterator[Path]:
    if path := environ.get("NETRC"):
        yield Path(path).expanduser()
        return
    yield _home(environ) / ".netrc"
    yield _home(environ) / "_netrc"


def _read_netrc(path: Path, base_url: str) -> str:
    try:
        hosts = netrc.netrc(str(path)).hosts
    except (OSError, UnicodeDecodeError, netrc.NetrcParseError):
        return ""
    place = urlsplit(base_url).netloc
    for name in (place, *_SAME_SERVER.get(place, ()), "default"):
        if name in hosts and (key := hosts[name][2]):
            return key.strip()
    return ""


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ["HOME"]) if environ.get("HOME") else Path("~").expanduser()
