"""Where the settings come from: argument > `OTEL_WANDB_*` > `WANDB_*` > file > default.

`resolve` gives the checked `Settings` and the origin of each value; the table itself is in
`otel_wandb.settings`.

Only the standard library and msgspec are imported here; YAML, TOML and the rest when they are needed.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from otel_wandb.errors import ConfigError
from otel_wandb.setting import VARIABLE_PREFIX, Setting, Value
from otel_wandb.settings import SETTINGS, Settings

__all__ = [
    "CONFIG_VARIABLE",
    "HASH_KEY_VARIABLE",
    "SETTINGS",
    "TOKENS_VARIABLE",
    "Resolved",
    "Setting",
    "Settings",
    "default_data_dir",
    "load_dotted",
    "resolve",
]

CONFIG_VARIABLE: Final = "OTEL_WANDB_CONFIG"
TOKENS_VARIABLE: Final = "OTEL_WANDB_SERVE_TOKENS"
"""A secret, and so no setting: only the server reads it."""
HASH_KEY_VARIABLE: Final = "OTEL_WANDB_HASH_KEY"
"""A secret as well, which only the bridge reads."""
DEFAULT: Final = "default"

_TABLE: Final = {setting.name: setting for setting in SETTINGS}
_PYPROJECT_TABLE: Final = "[tool.otel_wandb]"
_NOT_ABOVE: Final = (
    ("linger_s", "trace_max_s"),
    ("trace_idle_s", "trace_max_s"),
    ("trace_partial_after_s", "trace_max_s"),
    ("segment_bytes", "journal_limit_bytes"),
)
_NAME_LIMIT: Final = 128
_NOT_IN_NAMES: Final = re.compile(r"[/\\#?%:\x00-\x1f]")


class Resolved(msgspec.Struct, frozen=True):
    """The settings, and for each where its value came from (`config show` prints both)."""

    settings: Settings
    origin: dict[str, str]


class _Layer(NamedTuple):
    """One source of values. What is found in an earlier one goes before what is in a later one."""

    values: dict[str, tuple[object, str]]
    base: Path | None = None


class _Found(NamedTuple):
    value: Value
    origin: str
    depth: int


def resolve(
    arguments: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Resolved:
    """The settings that hold here, complete and checked.

    Args:
        arguments: by name of the setting; None means not given.
        environ: the environment (None: this process's).
        file: a YAML file (None: the one that `OTEL_WANDB_CONFIG` names, else `[tool.otel_wandb]` of
            `./pyproject.toml`).

    Raises:
        ConfigError: a name is unknown, a value malformed, or two values contradict each other.
    """
    environ = os.environ if environ is None else environ
    layers = (
        _layer_of_arguments(arguments or {}),
        *_layers_of_environment(environ),
        _layer_of_file(environ, file),
    )
    found = {setting.name: _find(setting, layers) for setting in SETTINGS}
    _split_project(found)
    _check_names(found)
    _check_order(found)
    _check_redaction(found, environ)
    if not found["data_dir"].value:
        found["data_dir"] = found["data_dir"]._replace(value=str(default_data_dir(environ)))
    settings = msgspec.convert({name: it.value for name, it in found.items()}, Settings)
    return Resolved(settings, {name: it.origin for name, it in found.items()})


def default_data_dir(environ: Mapping[str, str] | None = None) -> Path:
    """The data directory of this user and service where none is named; it need not exist."""
    import platformdirs

    service = _service_of(os.environ if environ is None else environ)
    try:
        state = Path(platformdirs.user_state_dir("otel-wandb", appauthor=False))
        homeless = not state.is_absolute()
    except RuntimeError:
        homeless = True
    if homeless:  # as in a container whose user id nobody knows
        import tempfile

        state = Path(tempfile.gettempdir(), f"otel-wandb-{os.getuid()}")
    return state / service


def load_dotted(path: str) -> object:
    """The Python object that `package.module:name` names (`name` may have dots).

    Raises ConfigError that says which part of it is wrong.
    """
    import importlib

    module_name, colon, name = path.partition(":")
    if not colon or not module_name or not name:
        raise ConfigError(f"{path!r} does not name a Python object; write it as package.module:name")
    try:
        thing: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{path!r}: there is no module {error.name!r}; is it installed here?") from error
    except Exception as error:  # a module of the user's: whatever it raises is its message
        raise ConfigError(f"{path!r}: importing {module_name} failed with {error!r}") from error
    for part in name.split("."):
        try:
            thing = getattr(thing, part)
        except AttributeError:
            raise ConfigError(
                f"{path!r}: there is no {part!r} in {module_name}{_suggest(part, dir(thing))}"
            ) from None
    return thing


def _layer_of_arguments(arguments: Mapping[str, object]) -> _Layer:
    given = {name: value for name, value in arguments.items() if value is not None}
    _refuse_unknown(given, _TABLE, "an argument")
    return _Layer({name: (value, "argument") for name, value in given.items()})


def _layers_of_environment(environ: Mapping[str, str]) -> tuple[_Layer, _Layer]:
    # An empty variable counts as unset, as OpenTelemetry has it.
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    own = {setting.variable: setting.name for setting in SETTINGS}
    ours = [variable for variable in given if variable.startswith(VARIABLE_PREFIX)]
    _refuse_unknown(ours, (*own, CONFIG_VARIABLE, TOKENS_VARIABLE, HASH_KEY_VARIABLE), "the environment")
    standard: dict[str, tuple[object, str]] = {}
    for setting in SETTINGS:
        for variable in setting.about.standard:
            if variable in given and setting.name not in standard:
                text = given[variable]
                standard[setting.name] = (setting.about.meanings.get(text.lower(), text), variable)
    return (
        _Layer({own[variable]: (given[variable], variable) for variable in ours if variable in own}),
        _Layer(standard),
    )


def _layer_of_file(environ: Mapping[str, str], file: Path | None) -> _Layer:
    named = environ.get(CONFIG_VARIABLE, "").strip()
    if file is None and named:
        file = Path(named).expanduser()
    if file is not None:
        values, where, base = _read_yaml(file), str(file), file.absolute().parent
    else:
        values, where, base = (
            _read_pyproject(Path("pyproject.toml")),
            f"pyproject.toml {_PYPROJECT_TABLE}",
            Path.cwd(),
        )
    _refuse_unknown(values, _TABLE, where)
    return _Layer({name: (value, where) for name, value in values.items() if value is not None}, base)


def _read_yaml(file: Path) -> dict[str, object]:
    import yaml

    try:
        document: object = yaml.safe_load(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"the configuration file {file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the configuration file {file} is not YAML: {' '.join(str(error).split())}"
        ) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"the configuration file {file} must hold settings as `name: value`, one a line")
    return {str(name): value for name, value in document.items()}


def _read_pyproject(file: Path) -> dict[str, object]:
    try:
        content = file.read_bytes()
    except OSError:
        return {}
    if (
        b"otel_wandb" not in content
    ):  # most have nothing of ours: no parser is loaded, no mistake of theirs matters
        return {}
    import tomllib

    try:
        tool = tomllib.loads(content.decode()).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}, which mentions otel_wandb, is not TOML: {error}") from None
    table = tool.get("otel_wandb", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: {_PYPROJECT_TABLE} must be a table")
    return table


def _find(setting: Setting, layers: Sequence[_Layer]) -> _Found:
    for depth, layer in enumerate(layers):
        if setting.name in layer.values:
            value, origin = layer.values[setting.name]
            return _Found(setting.read(value, origin, layer.base), origin, depth)
    return _Found(setting.default, DEFAULT, len(layers))


def _split_project(found: dict[str, _Found]) -> None:
    project, entity = found["project"], found["entity"]
    first, slash, second = str(project.value).partition("/")
    if not slash:
        return
    found["project"] = project._replace(value=second)
    if not entity.value or project.depth < entity.depth:
        found["entity"] = project._replace(value=first)
    elif project.depth == entity.depth and first != entity.value:
        raise ConfigError(
            f"project is {project.value!r} (from {project.origin}), but entity is {entity.value!r} "
            f"(from {entity.origin}); leave one of the two entities out"
        )


def _check_names(found: Mapping[str, _Found]) -> None:
    for name in ("project", "entity"):
        it = found[name]
        text = str(it.value)
        if name == "project" and not text:
            raise ConfigError(
                f"project is empty (from {it.origin}); name a project, as `project` or `entity/project`"
            )
        if len(text) > _NAME_LIMIT or _NOT_IN_NAMES.search(text):
            limits = f"W&B takes at most {_NAME_LIMIT} characters, and none of / \\ # ? % :"
            raise ConfigError(f"{name} is {text!r} (from {it.origin}); {limits}")


def _check_order(found: dict[str, _Found]) -> None:
    for lower, upper in _NOT_ABOVE:
        low, high = found[lower], found[upper]
        if float(low.value) <= float(high.value):
            continue
        if low.origin != DEFAULT:
            raise ConfigError(
                f"{lower} is {low.value:g} (from {low.origin}), which is over {upper} ({high.value:g}, from "
                f"{high.origin}); lower {lower} or raise {upper}"
            )
        found[lower] = low._replace(value=high.value, origin=f"{DEFAULT}, lowered to {upper}")


def _check_redaction(found: Mapping[str, _Found], environ: Mapping[str, str]) -> None:
    mode, own = found["redact_mode"], found["redact_with"]
    key = found["hash_key_file"].value or environ.get(HASH_KEY_VARIABLE, "").strip()
    if mode.value == "hash" and not key:
        raise ConfigError(
            f"redact_mode is hash (from {mode.origin}), and there is no key; write one into a file and name "
            f"it by hash_key_file, or set {HASH_KEY_VARIABLE}"
        )
    module, _, function = str(own.value).partition(":")
    if own.value and not (module and function):
        raise ConfigError(
            f"redact_with is {own.value!r} (from {own.origin}), which names no function; write it as "
            "package.module:function"
        )


def _refuse_unknown(names: Iterable[str], known: Iterable[str], where: str) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no setting {name!r} (in {where}){_suggest(name, known)}")


def _suggest(name: str, known: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else "; docs/settings.md lists all"


def _service_of(environ: Mapping[str, str]) -> str:
    from urllib.parse import unquote

    service = environ.get("OTEL_SERVICE_NAME", "").strip()
    for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, _, value = pair.partition("=")
        if not service and key.strip() == "service.name":
            service = unquote(value.strip())
    return re.sub(r"[^A-Za-z0-9._-]+", "_", service).strip("._") or "default"
