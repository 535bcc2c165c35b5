from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb import config
from otel_wandb.config import SETTINGS, Setting, Settings, default_data_dir, load_dotted, resolve
from otel_wandb.errors import ConfigError
from otel_wandb.settings_page import render_page
from tests.forking import in_child

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_without_anything_every_value_is_the_default() -> None:
    resolved = resolve({}, {})
    assert set(resolved.origin.values()) == {"default"}
    assert set(resolved.origin) == {setting.name for setting in SETTINGS}
    for setting in SETTINGS:
        if setting.name != "data_dir":
            assert getattr(resolved.settings, setting.name) == setting.default


def test_the_table_agrees_with_the_struct() -> None:
    assert tuple(setting.name for setting in SETTINGS) == Settings.__struct_fields__
    variables = [variable for setting in SETTINGS for variable in setting.variables]
    assert len(variables) == len(set(variables))
    for setting in SETTINGS:
        assert setting.read(setting.default, "default") == setting.default or setting.kind == "path"
        assert setting.about.doc.endswith(".")


def test_the_nearer_source_wins(tmp_path: Path) -> None:
    file = tmp_path / "otel-wandb.yaml"
    file.write_text("project: from-file\nentity: file-team\ninterval_s: 30\nfsync: always\n")
    environ = {
        "OTEL_WANDB_PROJECT": "from-own",
        "WANDB_PROJECT": "from-standard",
        "WANDB_ENTITY": "standard-team",
        "OTEL_WANDB_FSYNC": "",
    }
    resolved = resolve({"project": None}, environ, file)
    assert resolved.settings.project == "from-own"
    assert resolved.settings.entity == "standard-team"
    assert resolved.settings.interval_s == 30.0
    assert resolved.settings.fsync == "always"
    assert resolved.origin["project"] == "OTEL_WANDB_PROJECT"
    assert resolved.origin["entity"] == "WANDB_ENTITY"
    assert resolved.origin["interval_s"] == str(file)
    assert resolve({"project": "from-argument"}, environ, file).origin["project"] == "argument"


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ({"project": "team/rag"}, {}, ("team", "rag")),
        ({"project": "team/rag"}, {"WANDB_ENTITY": "other"}, ("team", "rag")),
        ({"entity": "mine"}, {"WANDB_PROJECT": "team/rag"}, ("mine", "rag")),
        ({"project": "rag"}, {"WANDB_ENTITY": "team"}, ("team", "rag")),
        ({"project": "team/rag", "entity": "team"}, {}, ("team", "rag")),
    ],
)
def test_project_may_name_the_entity(
    arguments: dict[str, object], environ: dict[str, str], expected: tuple[str, str]
) -> None:
    found = resolve(arguments, environ).settings
    assert (found.entity, found.project) == expected


@pytest.mark.parametrize(
    ("value", "mode"),
    [
        ("online", "online"),
        ("offline", "offline"),
        ("disabled", "offline"),
        ("dryrun", "offline"),
        ("shared", "online"),
        ("Disabled", "offline"),
    ],
)
def test_wandb_mode_is_translated(value: str, mode: str) -> None:
    assert resolve({}, {"WANDB_MODE": value}).settings.mode == mode


def test_what_wandb_calls_disabled_is_no_word_of_ours() -> None:
    with pytest.raises(
        ConfigError, match=r"mode is 'disabled' \(from OTEL_WANDB_MODE\); it must be one of auto"
    ):
        resolve({}, {"OTEL_WANDB_MODE": "disabled"})


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (
            {"trace_partial_after_s": 700},
            {},
            "trace_partial_after_s is 700 (from argument), which is over trace_max_s (600, from default); "
            "lower trace_partial_after_s or raise trace_max_s",
        ),
        (
            {},
            {"OTEL_WANDB_INTERVAL_S": "0"},
            "interval_s is 0, which is under its limit of 1 s (from OTEL_WANDB_INTERVAL_S)",
        ),
        (
            {"max_batch_calls": 1001},
            {},
            "max_batch_calls is 1001, which is over its limit of 1000 (from argument)",
        ),
        ({"max_batch_calls": 1.5}, {}, "max_batch_calls is 1.5 (from argument); it must be a whole number"),
        (
            {"max_batch_bytes": "31 MB"},
            {},
            "max_batch_bytes is '31 MB' (from argument); it must be a whole number of bytes",
        ),
        ({"linger_s": "nan"}, {}, "linger_s is 'nan' (from argument); it must be a number of s"),
        ({"linger_s": True}, {}, "linger_s is True (from argument); it must be a number of s"),
        ({"redact": "maybe"}, {}, "redact is 'maybe' (from argument); it must be true or false"),
        ({"project": 5}, {}, "project is 5 (from argument); it must be text; put it in quotes"),
        (
            {"projet": "x"},
            {},
            "there is no setting 'projet' (in an argument); did you mean 'project'?",
        ),
        (
            {},
            {"OTEL_WANDB_DATA_DIR": "/data"},
            "there is no setting 'OTEL_WANDB_DATA_DIR' (in the environment); did you mean 'OTEL_WANDB_DIR'?",
        ),
        (
            {"zzz": 1},
            {},
            "there is no setting 'zzz' (in an argument); docs/settings.md lists all",
        ),
        (
            {"project": "a/b", "entity": "c"},
            {},
            "project is 'a/b' (from argument), but entity is 'c' (from argument); "
            "leave one of the two entities out",
        ),
        (
            {"project": "team/"},
            {},
            "project is empty (from argument); name a project, as `project` or `entity/project`",
        ),
        (
            {"project": "a/b/c"},
            {},
            "project is 'b/c' (from argument); W&B takes at most 128 characters, and none of / \\ # ? % :",
        ),
        (
            {"base_url": "api.wandb.ai"},
            {},
            "base_url is 'api.wandb.ai' (from argument); it must be a URL that begins with http:// or https://",
        ),
    ],
)
def test_a_mistake_is_told_with_value_place_and_remedy(
    arguments: dict[str, object], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(arguments, environ)
    assert str(caught.value) == message


@pytest.mark.parametrize("url", ["http://me:hush@proxy:3128", "ftp://me:hush@proxy"])
def test_a_password_is_neither_taken_nor_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="proxy carries a user name or password") as caught:
        resolve({"proxy": url}, {})
    assert "hush" not in str(caught.value)


def test_a_default_gives_way_to_a_lower_limit() -> None:
    resolved = resolve({"trace_max_s": 30}, {})
    assert resolved.settings.trace_idle_s == 30
    assert resolved.settings.trace_partial_after_s == 30
    assert resolved.settings.linger_s == 6
    assert resolved.origin["trace_idle_s"] == "default, lowered to trace_max_s"


def test_urls_lose_their_last_slash_and_paths_become_absolute(tmp_path: Path) -> None:
    found = resolve({"base_url": "http://wandb.corp:8080/", "api_key_file": "key"}, {}).settings
    assert found.base_url == "http://wandb.corp:8080"
    assert found.api_key_file == str(tmp_path / "key")


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "otel.yaml").write_text("api_key_file: secrets/key\n")
    found = resolve({}, {"OTEL_WANDB_CONFIG": str(folder / "otel.yaml")}).settings
    assert found.api_key_file == str(folder / "secrets" / "key")


def test_a_named_file_replaces_pyproject(tmp_path: Path) -> None:
    Path("pyproject.toml").write_text('[tool.otel_wandb]\nproject = "from-pyproject"\nredact = false\n')
    resolved = resolve({}, {})
    assert resolved.settings.project == "from-pyproject"
    assert resolved.origin["redact"] == "pyproject.toml [tool.otel_wandb]"
    file = tmp_path / "other.yaml"
    file.write_text("")
    assert resolve({}, {}, file).settings.project == "otel-wandb"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[tool.otel_wandb]\nproject = ", "pyproject.toml, which mentions otel_wandb, is not TOML"),
        ("[tool]\notel_wandb = 3\n", r"\[tool.otel_wandb\] must be a table"),
        (
            "[tool.otel_wandb]\nprojekt = 'x'\n",
            r"no setting 'projekt' \(in pyproject.toml .*did you mean 'project'",
        ),
    ],
)
def test_mistakes_in_pyproject(content: str, message: str) -> None:
    Path("pyproject.toml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        resolve({}, {})


def test_a_broken_pyproject_without_our_table_is_none_of_our_business() -> None:
    Path("pyproject.toml").write_text("[tool.other\n")
    assert resolve({}, {}).settings.project == "otel-wandb"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1\n", "is not YAML: .*line 2"),
        ("- project\n", "must hold settings as `name: value`"),
        ("projects: x\n", "no setting 'projects' .*did you mean 'project'"),
    ],
)
def test_mistakes_in_yaml(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        resolve({}, {}, file)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read: No such file or directory"):
        resolve({}, {"OTEL_WANDB_CONFIG": str(tmp_path / "nowhere.yaml")})


@pytest.mark.parametrize(
    ("environ", "service"),
    [
        ({}, "default"),
        ({"OTEL_SERVICE_NAME": "rag api/v2"}, "rag_api_v2"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b,service.name=chat%20bot"}, "chat_bot"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=x", "OTEL_SERVICE_NAME": "y"}, "y"),
        ({"OTEL_SERVICE_NAME": "../.."}, "default"),
    ],
)
def test_the_data_directory_is_the_services_own(
    tmp_path: Path, environ: dict[str, str], service: str
) -> None:
    expected = tmp_path / "state" / "otel-wandb" / service
    assert default_data_dir(environ) == expected
    assert resolve({}, environ).settings.data_dir == str(expected)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without a home")
def test_a_user_without_a_home_has_a_directory_of_its_own() -> None:
    default_data_dir({})  # what it imports may not be readable for that user

    def work() -> bool:
        for name in ("HOME", "XDG_STATE_HOME"):
            os.environ.pop(name, None)
        os.setuid(54321)
        return default_data_dir({}) == Path(tempfile.gettempdir(), "otel-wandb-54321", "default")

    assert in_child(work) == 0


def test_the_data_directory_by_environment_is_taken_as_it_is() -> None:
    environ = {"OTEL_WANDB_DIR": "/var/lib/otel", "OTEL_SERVICE_NAME": "rag"}
    resolved = resolve({}, environ)
    assert resolved.settings.data_dir == "/var/lib/otel"
    assert resolved.origin["data_dir"] == "OTEL_WANDB_DIR"


def test_the_digest_names_everything_but_the_directory() -> None:
    first = resolve({"data_dir": "/a"}, {}).settings
    assert first.digest == resolve({"data_dir": "/b"}, {}).settings.digest
    assert first.digest != resolve({"data_dir": "/a", "project": "other"}, {}).settings.digest
    assert len(first.digest) == 16
    assert int(first.digest, 16) >= 0


def test_another_versions_document_is_read(caplog: pytest.LogCaptureFixture) -> None:
    document = msgspec.json.encode(
        {"project": "rag", "shadows": [{"kind": "drift"}], "mode": "shadow", "linger_s": 3, "fsync": 7}
    )
    with caplog.at_level(logging.WARNING, logger="otel_wandb.config"):
        found = Settings.from_json(document)
    assert found == Settings(project="rag", linger_s=3.0)
    assert [record.getMessage() for record in caplog.records] == [
        "mode is 'shadow' (from the stored configuration); it must be one of auto, online, offline; "
        "the default 'auto' is used.",
        "fsync is 7 (from the stored configuration); it must be text; put it in quotes; "
        "the default 'never' is used.",
    ]


@pytest.mark.parametrize("document", [b"", b"[]", b"{", b"\xff"])
def test_a_document_that_is_none_is_an_error(document: bytes) -> None:
    with pytest.raises(ConfigError, match="not a JSON object"):
        Settings.from_json(document)


def _values_of(setting: Setting) -> st.SearchStrategy[object]:
    about = setting.about
    name = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)
    match setting.kind:
        case "flag":
            return st.booleans()
        case "whole":
            return st.integers(int(about.at_least), int(min(about.at_most, 1 << 50)))
        case "number":
            return st.floats(about.at_least, about.at_most)
        case "choice":
            return st.sampled_from(setting.choices)
        case "url":
            return st.sampled_from(["", "http://127.0.0.1:8080", "https://wandb.corp/x"])
        case "path":
            return st.sampled_from(["", "/data/x", "/key"])
        case "prices":
            return st.sampled_from(["", '{"acme-*": {"input": 0.5, "output": 2, "provider": "vllm"}}'])
        case "alerts":
            return st.sampled_from(["", '{"rules": {"a": {"key": "a/b", "above": 1}}, "late_s": 60}'])
        case "views":
            return st.sampled_from(["", '[{"view": "slo", "instrument": "a", "objective": 0.9}]'])
        case "words":
            return st.sampled_from(["none", "user.id", "user.id, tenant.id"])
        case _:
            return name.map(lambda text: "".join(c for c in text if c not in '/\\#?%:"') or "x")


@st.composite
def _all_values(draw: st.DrawFn) -> dict[str, object]:
    values = {setting.name: draw(_values_of(setting)) for setting in SETTINGS}
    for lower, upper in config._NOT_ABOVE:
        values[lower] = min(values[lower], values[upper], key=lambda value: float(str(value)))
    values["redact_with"] = draw(st.sampled_from(["", "app.privacy:clean"]))
    if values["redact_mode"] == "hash":
        values["hash_key_file"] = "/key"
    return values


@settings(max_examples=50, deadline=None)
@given(_all_values())
def test_settings_survive_their_document_and_the_environment(values: dict[str, object]) -> None:
    found = resolve(values, {}).settings
    again = Settings.from_json(found.to_json())
    assert msgspec.structs.replace(again, data_dir=found.data_dir) == found
    assert again.digest == found.digest
    own = {setting.name: setting.variable for setting in SETTINGS}
    environ = {own[name]: str(value) for name, value in values.items()}
    assert resolve({}, environ).settings == found


def test_a_dotted_path_gives_the_object() -> None:
    assert load_dotted("otel_wandb.config:resolve") is resolve
    assert load_dotted("pathlib:Path.cwd") == Path.cwd


@pytest.fixture
def _broken_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "breaks_on_import.py").write_text("raise RuntimeError('no database')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("breaks_on_import", None)


@pytest.mark.usefixtures("_broken_module")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "otel_wandb.config",
            "'otel_wandb.config' does not name a Python object; write it as package.module:name",
        ),
        (":x", "does not name a Python object"),
        ("no_such_package.sub:x", "there is no module 'no_such_package'; is it installed here?"),
        ("otel_wandb.config:resolv", "no 'resolv' in otel_wandb.config; did you mean 'resolve'?"),
        ("breaks_on_import:x", r"importing breaks_on_import failed with RuntimeError\('no database'\)"),
    ],
)
def test_a_dotted_path_that_is_wrong(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_dotted(path)


def test_the_page_of_settings_is_current() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert page == render_page(), "run `make docs`"
    for setting in SETTINGS:
        assert f"| `{setting.name}` |" in page


def test_choices_of_the_struct_are_the_tables() -> None:
    mode = next(setting for setting in SETTINGS if setting.name == "mode")
    assert mode.choices == get_args(get_args(get_type_hints(Settings, include_extras=True)["mode"])[0])


def test_importing_it_stays_light() -> None:
    heavy = "yaml tomllib difflib platformdirs click httpx importlib.metadata sqlite3 asyncio http ssl email"
    code = (
        "import sys, msgspec; before = set(sys.modules); import otel_wandb.config; "
        f"print(*sorted((set(sys.modules) - before) & set({heavy.split()!r})))"
    )
    # Cheap by default, too: without a file nothing is parsed.
    code += "; otel_wandb.config.resolve({'data_dir': '/x'}, {}); print('yaml' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}, cwd="/"
    )
    assert done.stdout == "\nFalse\n"
