"""What an answer means, also one that Weave would not give: proxies, redirects, wrong addresses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from otel_wandb.delivery.credentials import Secret, WeaveTarget
from otel_wandb.delivery.weave_http import WeaveClient
from otel_wandb.errors import (
    DeliveryAmbiguous,
    DeliveryError,
    DeliveryPermanent,
    DeliveryRefused,
    DeliveryRetryable,
)

KEY = Secret("key")


class OddServer(ThreadingHTTPServer):
    """Answers every POST with the same status, headers and body, and remembers what was asked."""

    status: int = 200
    headers: dict[str, str]
    body: bytes = b"{}"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.headers = {}
        self.asked: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OddServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        sent = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.path, sent, body))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *arguments: object) -> None: ...  # noqa: A002  the name of the base


@pytest.fixture
def server() -> Iterator[OddServer]:
    with OddServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def client_of(url: str, *, proxy: str = "", timeout_s: float = 5.0) -> WeaveClient:
    target = WeaveTarget(
        base_url=url,
        trace_url=url,
        api_key=KEY,
        key_origin="test",
        entity="",
        proxy=proxy,
        verify_tls=True,
        offline="",
    )
    return WeaveClient(target, timeout_s=timeout_s)


@pytest.fixture
def client(server: OddServer) -> Iterator[WeaveClient]:
    client = client_of(server.url)
    yield client
    client.close()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (301, b"", DeliveryRefused),
        (400, b'{"reason": "id"}', DeliveryPermanent),
        (400, b"<html>The plain HTTP request was sent to HTTPS port</html>", DeliveryRefused),
        (401, b"{}", DeliveryRefused),
        (403, b"{}", DeliveryRefused),
        (404, b"{}", DeliveryRefused),
        (405, b"{}", DeliveryRefused),
        (408, b"", DeliveryRetryable),
        (409, b'{"reason": "digest"}', DeliveryPermanent),
        (413, b"<html>413 Request Entity Too Large</html>", DeliveryPermanent),
        (422, b'{"detail": []}', DeliveryPermanent),
        (422, b"", DeliveryRefused),
        (429, b"", DeliveryRetryable),
        (500, b"", DeliveryAmbiguous),
        (501, b"{}", DeliveryRefused),
        (502, b"", DeliveryAmbiguous),
        (503, b"", DeliveryRetryable),
        (504, b"", DeliveryAmbiguous),
        (200, b"<html>log in to the network</html>", DeliveryAmbiguous),
    ],
)
def test_what_an_answer_to_calls_means(
    server: OddServer, client: WeaveClient, status: int, body: bytes, kind: type[DeliveryError]
) -> None:
    server.status, server.body = status, body
    with pytest.raises(kind) as caught:
        client.post_calls(KEY, "team", "rag", b'{"batch":[]}')
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("status", "kind"), [(400, DeliveryRefused), (401, DeliveryRefused), (500, DeliveryRetryable)]
)
def test_a_question_can_always_be_asked_again(
    server: OddServer, client: WeaveClient, status: int, kind: type[DeliveryError]
) -> None:
    server.status, server.body = status, b'{"reason": "no"}'
    for ask in (
        lambda: client.read_back(KEY, "team/rag", ["1" * 16]),
        lambda: client.ensure_project(KEY, "team", "rag"),
        lambda: client.default_entity(KEY),
    ):
        with pytest.raises(kind):
            ask()


def test_an_answer_that_is_cut_or_foreign_is_no_answer_to_reading_back(
    server: OddServer, client: WeaveClient
) -> None:
    server.body = b'{"id":"a"}\n{"id":"b"}\n'
    assert client.read_back(KEY, "team/rag", ["a", "b", "c"]) == {"a", "b"}
    server.body = b'{"id":"a"}\n{"id":'
    with pytest.raises(DeliveryRetryable):
        client.read_back(KEY, "team/rag", ["a", "b"])


def test_many_ids_are_read_back_in_several_requests(server: OddServer, client: WeaveClient) -> None:
    server.body = b""
    assert client.read_back(KEY, "team/rag", [f"{i:016x}" for i in range(1200)]) == frozenset()
    assert [path for path, _, _ in server.asked] == ["/calls/stream_query"] * 3


def test_a_redirect_is_not_followed_but_named(server: OddServer, client: WeaveClient) -> None:
    server.status, server.headers = 308, {"location": "https://elsewhere.example.com/"}
    with pytest.raises(DeliveryRefused, match=r"https://elsewhere\.example\.com/"):
        client.post_calls(KEY, "team", "rag", b"{}")
    assert len(server.asked) == 1


def test_the_wait_that_the_server_asks_for_is_passed_on(server: OddServer, client: WeaveClient) -> None:
    server.status, server.headers = 429, {"retry-after": "17"}
    with pytest.raises(DeliveryRetryable) as caught:
        client.post_calls(KEY, "team", "rag", b"{}")
    assert caught.value.retry_after_s == 17.0


def test_errors_of_graphql_are_told_in_its_words(server: OddServer, client: WeaveClient) -> None:
    server.body = b'{"data": null, "errors": [{"message": "permission denied"}]}'
    with pytest.raises(DeliveryRefused, match="permission denied"):
        client.ensure_project(KEY, "team", "rag")


def test_an_address_where_nobody_listens_has_taken_nothing() -> None:
    client = client_of("http://127.0.0.1:9")
    with pytest.raises(DeliveryRetryable, match="cannot be reached"):
        client.post_calls(KEY, "team", "rag", b"{}")
    client.close()


def test_names_are_escaped_in_the_address(server: OddServer, client: WeaveClient) -> None:
    client.post_calls(KEY, "a team", "r/a?g", b"{}")
    assert server.asked[0][0] == "/v2/a%20team/r%2Fa%3Fg/calls/complete"


def test_the_body_goes_out_as_it_is_with_the_key_and_no_other_credentials(
    server: OddServer, client: WeaveClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=collector,x-tenant=7")
    body = b'{"batch":[{"text":"\xc3\xa4 \\u00e4"}]}'
    client.post_calls(KEY, "team", "rag", body)
    ((_, headers, sent),) = server.asked
    assert sent == body
    assert headers["authorization"] == KEY.basic_authorization()
    assert set(headers) == {
        "host",
        "accept",
        "accept-encoding",
        "connection",
        "user-agent",
        "content-type",
        "content-length",
        "authorization",
    }


def test_a_proxy_is_asked_in_place_of_the_server(server: OddServer) -> None:
    client = client_of("http://weave.invalid", proxy=server.url)
    client.post_calls(KEY, "team", "rag", b"{}")
    client.close()
    assert server.asked[0][0] == "http://weave.invalid/v2/team/rag/calls/complete"


def test_the_proxy_of_the_environment_is_used_where_none_is_set(
    server: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    client = client_of("http://weave.invalid")
    client.post_calls(KEY, "team", "rag", b"{}")
    client.close()
    assert server.asked[0][0] == "http://weave.invalid/v2/team/rag/calls/complete"


def test_a_long_answer_is_cut_for_the_record(server: OddServer, client: WeaveClient) -> None:
    server.status, server.body = 422, b'{"detail": "' + b"x" * 10_000 + b'"}'
    with pytest.raises(DeliveryPermanent) as caught:
        client.post_calls(KEY, "team", "rag", b"{}")
    assert len(caught.value.answer) < 2_100
