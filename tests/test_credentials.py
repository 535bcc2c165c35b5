"""Server, key and proxy are found where wandb and weave find theirs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import msgspec
import pytest

from otel_wandb.delivery.credentials import Secret, WeaveTarget, find_api_key, read_wandb_settings
from otel_wandb.errors import ConfigError, CredentialError
from otel_wandb.settings import Settings

KEY = "0123456789abcdef0123456789abcdef01234567"
SAAS = "https://api.wandb.ai"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def environment(home: Path, **variables: str) -> dict[str, str]:
    return {"HOME": str(home), "WANDB_DIR": str(home / "workspace"), **variables}


def note(path: Path, **settings: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))


def write_netrc(path: Path, machine: str, key: str = KEY) -> None:
    path.write_text(f"machine {machine}\n  login user\n  password {key}\n")


def test_the_defaults_are_those_of_the_hosted_service(home: Path) -> None:
    target = WeaveTarget.find(Settings(), environment(home, WANDB_API_KEY=KEY))
    assert (target.base_url, target.trace_url) == (SAAS, "https://trace.wandb.ai")
    assert (target.entity, target.proxy, target.verify_tls, target.offline) == ("", "", True, "")
    assert target.api_key == Secret(KEY)
    assert target.key_origin == "WANDB_API_KEY"


@pytest.mark.parametrize(
    ("settings", "variables", "trace_url"),
    [
        (Settings(), {"WANDB_BASE_URL": "https://wandb.example.com/"}, "https://wandb.example.com/traces"),
        (
            Settings(base_url="https://a.example.com"),
            {"WANDB_BASE_URL": "https://b"},
            "https://a.example.com/traces",
        ),
        (
            Settings(),
            {"WANDB_BASE_URL": "https://in", "WANDB_PUBLIC_BASE_URL": "https://out"},
            "https://out/traces",
        ),
        (Settings(), {"WF_TRACE_SERVER_URL": "http://127.0.0.1:1/"}, "http://127.0.0.1:1"),
        (Settings(trace_url="http://t"), {"WF_TRACE_SERVER_URL": "http://u"}, "http://t"),
    ],
)
def test_the_trace_server_follows_the_server(
    home: Path, settings: Settings, variables: dict[str, str], trace_url: str
) -> None:
    assert WeaveTarget.find(settings, environment(home, **variables)).trace_url == trace_url


def test_it_agrees_with_weave_itself(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weave.trace import env

    variables = environment(home, WANDB_BASE_URL="http://127.0.0.1:8080")
    write_netrc(home / ".netrc", "127.0.0.1:8080")
    monkeypatch.chdir(home)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("WF_TRACE_SERVER_URL", "WANDB_API_KEY", "WANDB_PUBLIC_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    target = WeaveTarget.find(Settings())
    assert target.base_url == env.wandb_base_url()
    assert target.trace_url == env.weave_trace_server_url()
    assert target.api_key is not None
    assert target.api_key.reveal() == env.weave_wandb_api_key() == KEY


@pytest.mark.parametrize("url", ["https://wandb.ai", "https://app.wandb.ai"])
def test_the_web_site_is_not_the_api(home: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"set WANDB_BASE_URL=https://api\.wandb\.ai"):
        WeaveTarget.find(Settings(), environment(home, WANDB_BASE_URL=url))


def test_settings_files_of_wandb_are_read_and_the_workspace_wins(home: Path) -> None:
    note(home / ".config" / "wandb" / "settings", base_url="https://a.example.com", entity="one")
    note(home / "workspace" / "wandb" / "settings", entity="two", project="rag", mode="offline")
    variables = environment(home)
    assert read_wandb_settings(variables) == {
        "base_url": "https://a.example.com",
        "entity": "two",
        "project": "rag",
        "mode": "offline",
    }
    target = WeaveTarget.find(Settings(), variables)
    assert (target.base_url, target.entity) == ("https://a.example.com", "two")
    assert "offline" in target.offline
    assert WeaveTarget.find(Settings(mode="online", entity="three"), variables).entity == "three"
    assert "no API key" in WeaveTarget.find(Settings(mode="online"), variables).offline


def test_a_percent_sign_or_rubbish_in_a_settings_file_does_no_harm(home: Path) -> None:
    note(home / ".config" / "wandb" / "settings", entity="100%")
    (home / "workspace" / "wandb").mkdir(parents=True)
    (home / "workspace" / "wandb" / "settings").write_bytes(b"\xff\xfe not a settings file")
    assert read_wandb_settings(environment(home)) == {"entity": "100%"}


def test_the_config_directory_can_be_elsewhere(home: Path) -> None:
    note(home / "elsewhere" / "settings", base_url="https://b.example.com")
    variables = environment(home, WANDB_CONFIG_DIR=str(home / "elsewhere"))
    assert WeaveTarget.find(Settings(), variables).base_url == "https://b.example.com"


@pytest.mark.parametrize(
    ("name", "machine", "base_url"),
    [
        (".netrc", "api.wandb.ai", SAAS),
        ("_netrc", "api.wandb.ai", SAAS),
        (".netrc", "api.forge.coreweave.com", SAAS),
        (".netrc", "wandb.example.com:8443", "https://wandb.example.com:8443"),
    ],
)
def test_the_key_is_found_in_netrc(home: Path, name: str, machine: str, base_url: str) -> None:
    write_netrc(home / name, machine)
    assert find_api_key(base_url, environ=environment(home)) == (Secret(KEY), str(home / name))


def test_a_key_for_another_server_is_not_used(home: Path) -> None:
    write_netrc(home / ".netrc", "api.wandb.ai")
    note(home / ".config" / "wandb" / "settings", base_url=SAAS, api_key=KEY)
    assert find_api_key("https://wandb.example.com", environ=environment(home)) == (None, "")


def test_file_environment_netrc_and_settings_are_asked_in_this_order(home: Path) -> None:
    variables = environment(home)
    assert find_api_key(SAAS, environ=variables) == (None, "")
    note(home / ".config" / "wandb" / "settings", api_key="settings")
    assert find_api_key(SAAS, environ=variables)[0] == Secret("settings")
    write_netrc(home / ".netrc", "api.wandb.ai", "netrc")
    assert find_api_key(SAAS, environ=variables)[0] == Secret("netrc")
    write_netrc(home / "other", "api.wandb.ai", "other")
    assert find_api_key(SAAS, environ={**variables, "NETRC": str(home / "other")})[0] == Secret("other")
    variables["WANDB_API_KEY"] = " environment\n"
    assert find_api_key(SAAS, environ=variables)[0] == Secret("environment")
    (home / "key").write_text("file\n")
    assert find_api_key(SAAS, str(home / "key"), environ=variables)[0] == Secret("file")


def test_a_file_is_read_anew_so_that_the_key_rotates(home: Path) -> None:
    path = home / "key"
    settings = Settings(api_key_file=str(path))
    path.write_text("old")
    assert WeaveTarget.find(settings, environment(home)).api_key == Secret("old")
    path.write_text("new")
    assert WeaveTarget.find(settings, environment(home)).api_key == Secret("new")


@pytest.mark.parametrize("content", [None, "", "two words"])
def test_a_key_file_without_a_key_is_an_error_that_names_it(home: Path, content: str | None) -> None:
    path = home / "key"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CredentialError, match=str(path)):
        find_api_key(SAAS, str(path), environ=environment(home))


def test_a_broken_netrc_is_no_key(home: Path) -> None:
    (home / ".netrc").write_text("machine api.wandb.ai login user passwort x\n")
    assert find_api_key(SAAS, environ=environment(home)) == (None, "")


@pytest.mark.parametrize("mode", ["offline", "dryrun", "disabled"])
def test_the_mode_of_wandb_counts_where_ours_is_auto(home: Path, mode: str) -> None:
    variables = environment(home, WANDB_MODE=mode, WANDB_API_KEY=KEY)
    target = WeaveTarget.find(Settings(), variables)
    assert "offline" in target.offline
    assert target.api_key is None
    assert WeaveTarget.find(Settings(mode="online"), variables).offline == ""


def test_without_a_key_the_message_says_what_to_do(home: Path) -> None:
    target = WeaveTarget.find(Settings(), environment(home))
    assert target.offline == (
        "no API key for https://api.wandb.ai; set WANDB_API_KEY, or api_key_file, or run `wandb login`. "
        "Until then everything stays in the local store"
    )
    tokens = WeaveTarget.find(Settings(), environment(home, WANDB_IDENTITY_TOKEN_FILE="/token"))
    assert "not supported" in tokens.offline


def test_the_proxy_is_the_setting_or_that_of_wandb(home: Path) -> None:
    proxies = {"WANDB_HTTPS_PROXY": "http://tls:1", "WANDB_HTTP_PROXY": "http://plain:2"}
    assert WeaveTarget.find(Settings(), environment(home, **proxies)).proxy == "http://tls:1"
    plain = environment(home, WF_TRACE_SERVER_URL="http://t", **proxies)
    assert WeaveTarget.find(Settings(), plain).proxy == "http://plain:2"
    assert WeaveTarget.find(Settings(proxy="http://mine:3"), plain).proxy == "http://mine:3"
    note(home / ".config" / "wandb" / "settings", https_proxy="http://noted:4")
    assert WeaveTarget.find(Settings(), environment(home)).proxy == "http://noted:4"


def test_certificates_are_checked_unless_weave_or_wandb_is_told_otherwise(home: Path) -> None:
    for name in ("WEAVE_INSECURE_DISABLE_SSL", "WANDB_INSECURE_DISABLE_SSL"):
        assert not WeaveTarget.find(Settings(), environment(home, **{name: "true"})).verify_tls


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret(KEY)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", repr([secret]), repr({"key": secret})]
    assert all(KEY not in text for text in shown)
    assert secret.reveal() == KEY
    assert secret == Secret(KEY)
    assert secret != Secret(KEY + "x")
    assert len({secret, Secret(KEY)}) == 1
    for encode in (pickle.dumps, json.dumps, msgspec.json.encode):
        with pytest.raises(TypeError):
            encode(secret)


def test_a_target_shows_no_secret(home: Path) -> None:
    assert KEY not in repr(WeaveTarget.find(Settings(), environment(home, WANDB_API_KEY=KEY)))


def test_the_authorization_is_the_one_that_wandb_sends() -> None:
    assert Secret("key").basic_authorization() == "Basic YXBpOmtleQ=="
