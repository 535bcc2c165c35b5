"""Who may send: tokens, certificates, and no open door by accident."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import grpc
import httpx
import pytest
import trustme
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from otel_wandb.cli import main
from otel_wandb.config import TOKENS_VARIABLE, resolve
from otel_wandb.errors import ConfigError
from otel_wandb.ingest.tokens import Tokens
from otel_wandb.serve_plan import Address
from tests.deadlines import wait_for
from tests.serving import PROTOBUF, Server, all_counted, call, post, read_response, refusal, requests_of

GOOD = "0123456789abcdef-first"
OTHER = "0123456789abcdef-second"
BODY = requests_of(1).SerializeToString()


def send(client: httpx.Client, authorization: str | None, path: str = "/v1/traces") -> httpx.Response:
    headers = {"content-type": PROTOBUF} | ({"authorization": authorization} if authorization else {})
    return client.post(path, content=BODY, headers=headers)


def test_a_token_is_asked_for_over_both_protocols(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# of the gateway\n{OTHER}\n\n")
    environ = {TOKENS_VARIABLE: GOOD, "OTEL_WANDB_SERVE_TOKENS_FILE": str(file)}
    with Server(tmp_path / "data", environ=environ) as server:
        with server.client() as client:
            for given_, status in (
                (f"Bearer {GOOD}", 200),
                (f"bearer {OTHER}", 200),
                (f"Bearer  {GOOD}", 200),
                (None, 401),
                (GOOD, 401),
                (f"Basic {GOOD}", 401),
                ("Bearer", 401),
                (f"Bearer {GOOD[:-1]}", 401),
                (f"Bearer {GOOD}x", 401),
            ):
                response = send(client, given_)
                assert response.status_code == status, given_
            assert response.headers["www-authenticate"] == "Bearer"
            assert client.get("/metrics").status_code == 401
            bearer = {"authorization": f"Bearer {GOOD}"}
            assert client.get("/metrics", headers=bearer).status_code == 200
            assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        with server.connection() as connection:  # nothing of the body is waited for
            connection.sendall(post("/v1/traces", BODY, "expect: 100-continue")[: -len(BODY)])
            assert read_response(connection).status == 401
        with server.channel() as channel:
            assert call(channel, BODY, metadata=(("authorization", f"Bearer {OTHER}"),)) == b""
            for metadata in ((), (("authorization", "Bearer wrong"),)):
                code = refusal(channel, BODY, metadata=metadata).code
                assert code is grpc.StatusCode.UNAUTHENTICATED
            assert call(channel, b"", "/grpc.health.v1.Health/Check") == b"\x08\x01"
        all_counted(server, 4)
        assert GOOD not in server.log
    held = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert GOOD.encode() not in held


def test_tokens_may_rotate_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(GOOD)
    tokens = Tokens({}, file)
    assert tokens.check(f"Bearer {GOOD}".encode())

    def replace(text: str | None) -> None:
        if text is None:
            file.unlink()
        else:
            file.with_suffix(".new").write_text(text)
            file.with_suffix(".new").replace(file)

    replace(OTHER)
    wait_for(lambda: tokens.check(f"Bearer {OTHER}".encode()))
    assert not tokens.check(f"Bearer {GOOD}".encode())
    for text in ("short", None):  # what cannot be used changes nothing
        replace(text)
        time.sleep(1.1)
        assert tokens.check(f"Bearer {OTHER}".encode())
    replace("")  # an empty file lets nobody in, and not everybody
    wait_for(lambda: not tokens.check(f"Bearer {OTHER}".encode()))
    assert not tokens.check(b"")


@given(st.binary())
def test_whatever_is_given_is_compared(given_: bytes) -> None:
    tokens = Tokens({TOKENS_VARIABLE: f"{GOOD}, {OTHER},"}, None)
    assert not tokens.check(given_)
    assert Tokens({}, None).check(given_)


@pytest.mark.parametrize(
    ("environ", "content", "message"),
    [
        ({TOKENS_VARIABLE: "short"}, None, f"token 1 in {TOKENS_VARIABLE} has 5 characters"),
        ({}, "0123456789abcdef\nshort\n", "token 2 in .*tokens has 5 characters"),
        ({}, "# none yet\n", "there is no token in .*tokens"),
    ],
)
def test_tokens_that_protect_nothing(
    tmp_path: Path, environ: Mapping[str, str], content: str | None, message: str
) -> None:
    file = None
    if content is not None:
        file = tmp_path / "tokens"
        file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        Tokens(environ, file)


def test_a_missing_file_of_tokens(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Tokens({}, tmp_path / "none")


def invoke(tmp_path: Path, *options: str) -> str:
    """What `serve` says that does not begin."""
    shown = CliRunner().invoke(main, ["serve", "--data-dir", str(tmp_path / "data"), *options])
    assert shown.exit_code == 1
    assert not (tmp_path / "data").exists()
    return str(shown.output)


@pytest.mark.parametrize("option", ["--grpc", "--http"])
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.1.2.3", "gateway.example"])
def test_no_open_door_without_a_token(tmp_path: Path, option: str, host: str) -> None:
    said = invoke(tmp_path, option, f"{host}:0")
    assert f"{host}:0 can be reached from other machines, and no token is asked for" in said
    assert "--insecure" in said


@pytest.mark.parametrize("open_by", ["token", "insecure"])
def test_an_open_door_that_somebody_asked_for(tmp_path: Path, open_by: str) -> None:
    environ = {TOKENS_VARIABLE: GOOD} if open_by == "token" else {}
    options = ("--http", "0.0.0.0:0", *(("--insecure",) if open_by == "insecure" else ()))
    with Server(tmp_path / "data", *options, environ=environ) as server:
        server.http = server.http.replace("0.0.0.0", "127.0.0.1")
        with server.client() as client:
            assert send(client, f"Bearer {GOOD}").status_code == 200
        assert ("unencrypted" in server.log) == (open_by == "token")


@pytest.mark.parametrize(
    ("text", "host", "port", "local"),
    [
        ("127.0.0.1:4317", "127.0.0.1", 4317, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:4317", "::1", 4317, True),
        ("127.9.9.9:1", "127.9.9.9", 1, True),
        ("0.0.0.0:4318", "0.0.0.0", 4318, False),
        ("[::]:4318", "::", 4318, False),
        ("collector:65535", "collector", 65535, False),
        ("[::ffff:10.0.0.1]:1", "::ffff:10.0.0.1", 1, False),
    ],
)
def test_addresses(text: str, host: str, port: int, local: bool) -> None:
    address = Address.parse(text, "serve_http")
    assert (address.host, address.port, address.is_local, str(address)) == (host, port, local, text)


@pytest.mark.parametrize(
    "text", ["", "4317", ":4317", "localhost", "localhost:", "localhost:x", "localhost:70000"]
)
def test_what_is_no_address(tmp_path: Path, text: str) -> None:
    assert f"serve_grpc is {text!r}; it must be HOST:PORT" in invoke(tmp_path, "--grpc", text)


def test_an_address_that_somebody_else_has(tmp_path: Path) -> None:
    with Server(tmp_path / "one") as first:
        for option, taken in (("--grpc", first.grpc), ("--http", first.http)):
            addresses = {"--grpc": "127.0.0.1:0", "--http": "127.0.0.1:0", option: taken}
            options = [word for pair in addresses.items() for word in pair]
            shown = CliRunner().invoke(main, ["serve", "--data-dir", str(tmp_path / "two"), *options])
            assert shown.exit_code == 1
            assert f"{taken} cannot be listened on: Address already in use" in shown.output


class Certificates(NamedTuple):
    """Files of a test's own authority."""

    ca: Path
    cert: Path
    key: Path
    client: Path
    stranger: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("certificates")
    files = Certificates(*(directory / f"{name}.pem" for name in Certificates._fields))
    authority, other = trustme.CA(), trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(files.ca))
    files.cert.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(files.key))
    authority.issue_cert("collector@example.org").private_key_and_cert_chain_pem.write_to_path(
        str(files.client)
    )
    other.issue_cert("stranger@example.org").private_key_and_cert_chain_pem.write_to_path(str(files.stranger))
    return files


def tls_environ(files: Certificates, *, clients: bool) -> dict[str, str]:
    environ = {"OTEL_WANDB_SERVE_TLS_CERT": str(files.cert), "OTEL_WANDB_SERVE_TLS_KEY": str(files.key)}
    return environ | ({"OTEL_WANDB_SERVE_TLS_CLIENT_CA": str(files.ca)} if clients else {})


def post_tls(server: Server, files: Certificates, own: Path | None) -> int:
    context = ssl.create_default_context(cafile=files.ca)
    if own is not None:
        context.load_cert_chain(own)
    with httpx.Client(verify=context, trust_env=False) as client:
        url = f"https://{server.http}/v1/traces"
        return client.post(url, content=BODY, headers={"content-type": PROTOBUF}).status_code


def call_tls(server: Server, files: Certificates, own: Path | None) -> bytes:
    pem = own.read_bytes() if own is not None else None
    credentials = grpc.ssl_channel_credentials(files.ca.read_bytes(), pem, pem)
    with grpc.secure_channel(server.grpc, credentials) as channel:
        return call(channel, BODY, timeout=10)


def test_tls(tmp_path: Path, certificates: Certificates) -> None:
    with Server(tmp_path / "data", environ=tls_environ(certificates, clients=False)) as server:
        assert post_tls(server, certificates, None) == 200
        assert call_tls(server, certificates, None) == b""
        with server.connection() as connection:  # a client without TLS gets nothing
            connection.sendall(post("/v1/traces", BODY))
            assert not connection.recv(1000).startswith(b"HTTP/1.1 200")
        all_counted(server, 2)


def test_client_certificates(tmp_path: Path, certificates: Certificates) -> None:
    with Server(tmp_path / "data", environ=tls_environ(certificates, clients=True)) as server:
        assert post_tls(server, certificates, certificates.client) == 200
        assert call_tls(server, certificates, certificates.client) == b""
        for own in (None, certificates.stranger):
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                post_tls(server, certificates, own)
            with pytest.raises(grpc.RpcError):
                call_tls(server, certificates, own)
        all_counted(server, 2)


def test_half_a_set_up_of_tls_is_none(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_WANDB_SERVE_TLS_CERT", str(certificates.cert))
    assert "set both serve_tls_cert and serve_tls_key" in invoke(tmp_path)
    monkeypatch.setenv("OTEL_WANDB_SERVE_TLS_KEY", str(certificates.ca))
    assert "cannot be used" in invoke(tmp_path)


def test_tokens_are_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKENS_VARIABLE, GOOD)
    assert GOOD.encode() not in resolve().settings.to_json()
    assert GOOD in os.environ[TOKENS_VARIABLE]
