"""Media in messages: every shape becomes a data URI that Weave makes content of, and none is too large."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from pathlib import Path

import httpx
import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.cli import main
from otel_wandb.conventions.media import MEDIA_NAMES, MEDIA_TYPES, data_uri, read_media
from otel_wandb.conventions.messages import read_messages
from otel_wandb.datadir import DataDir
from otel_wandb.redaction import Redactor
from otel_wandb.status import read_status
from otel_wandb.traces.bounds import bound_call
from tests.peers.weave import WeavePeer
from tests.scored import make_span, spans, write_requests

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(8))
B64 = base64.b64encode(PNG).decode()
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}}
LINK = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        pytest.param({"type": "blob", "mime_type": "image/png", "content": B64}, IMAGE, id="genai"),
        pytest.param({"type": "blob", "mime_type": "image/png", "content": PNG}, IMAGE, id="genai-bytes"),
        pytest.param({"type": "blob", "content": PNG}, IMAGE, id="genai-untyped"),
        pytest.param({"type": "binary", "media_type": "image/png", "content": B64}, IMAGE, id="pydantic-ai"),
        pytest.param(
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}},
            IMAGE,
            id="anthropic",
        ),
        pytest.param(
            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}, LINK, id="anthropic-url"
        ),
        pytest.param(
            {"type": "document", "source": {"type": "file", "file_id": "f1"}, "title": "T"},
            {"type": "file", "file": {"file_id": "f1"}, "modality": "document", "title": "T"},
            id="anthropic-file",
        ),
        pytest.param(
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            },
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}},
            id="anthropic-pdf",
        ),
        pytest.param(
            {"type": "image", "source_type": "base64", "mime_type": "image/png", "data": B64},
            IMAGE,
            id="langchain-0",
        ),
        pytest.param({"type": "image", "base64": B64, "mime_type": "image/png"}, IMAGE, id="langchain-1"),
        pytest.param({"type": "image", "url": "https://x/y.png"}, LINK, id="langchain-url"),
        pytest.param({"type": "media", "mime_type": "image/png", "data": B64}, IMAGE, id="langchain-google"),
        pytest.param({"inline_data": {"mime_type": "image/png", "data": B64}}, IMAGE, id="google"),
        pytest.param({"inlineData": {"mimeType": "image/png", "data": B64}}, IMAGE, id="google-camel"),
        pytest.param(
            {"file_data": {"mime_type": "image/png", "file_uri": "gs://b/x.png"}},
            {"type": "image_url", "image_url": {"url": "gs://b/x.png"}, "mime_type": "image/png"},
            id="google-uri",
        ),
        pytest.param({"image": {"format": "png", "source": {"bytes": B64}}}, IMAGE, id="bedrock"),
        pytest.param({"image": {"format": "png", "source": {"bytes": PNG}}}, IMAGE, id="bedrock-bytes"),
        pytest.param(
            {"document": {"format": "pdf", "name": "a", "source": {"bytes": "JVBERi0="}}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}, "name": "a"},
            id="bedrock-document",
        ),
        pytest.param({"type": "image", "image": B64}, IMAGE, id="vercel"),
        pytest.param({"type": "file", "mediaType": "image/png", "data": B64}, IMAGE, id="vercel-file"),
        pytest.param(
            {"type": "image", "image": {"type": "Buffer", "data": list(PNG)}}, IMAGE, id="vercel-buffer"
        ),
        pytest.param(
            {"type": "file", "mediaType": "image/png", "data": {str(i): b for i, b in enumerate(PNG)}},
            IMAGE,
            id="vercel-array",
        ),
        pytest.param(
            {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": "data:audio/wav;base64,QUJD"}},
            id="openai-audio",
        ),
        pytest.param({"type": "image-url", "url": "https://x/y.png"}, LINK, id="pydantic-ai-url"),
        pytest.param(
            {"type": "uri", "modality": "audio", "uri": "data:audio/wav;base64,QUJD"},
            {
                "type": "input_audio",
                "input_audio": {"data": "data:audio/wav;base64,QUJD"},
                "modality": "audio",
            },
            id="data-uri-as-uri",
        ),
        pytest.param({"type": "file", "file_id": "f1"}, {"type": "file", "file": {"file_id": "f1"}}, id="id"),
    ],
)
def test_every_shape_becomes_one(part: dict[str, object], expected: dict[str, object]) -> None:
    (message,) = read_messages([{"role": "user", "content": [part]}]) or []
    assert message == {"role": "user", "content": [expected]}


@pytest.mark.parametrize(
    "part",
    [
        IMAGE,
        LINK,
        {"type": "input_image", "image_url": f"data:image/png;base64,{B64}"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
        {"type": "blob", "mime_type": "image/png", "content": "not base64!"},
        {"type": "blob", "mime_type": "image/png", "content": "QUJDR"},
        {"type": "blob", "mime_type": "image/png", "content": "QUJ=RA"},
        {"type": "blob", "mime_type": "image/png", "content": ""},
        {"type": "image", "image": {"type": "Buffer", "data": [1, 256]}},
        {"type": "image"},
        {"image": "a word"},
    ],
)
def test_what_is_right_or_cannot_be_read_stays_as_it_came(part: dict[str, object]) -> None:
    (message,) = read_messages([{"role": "user", "content": [part]}]) or []
    assert message == {"role": "user", "content": [part]}


@pytest.mark.parametrize(
    ("data", "mime_type", "expected"),
    [
        ("QUJD", "image/png", "image/png;base64,QUJD"),
        ("QUJDRA", "image/png", "image/png;base64,QUJDRA=="),
        ("QU\nJD \r\n", "image/png", "image/png;base64,QUJD"),
        ("-_-_", "image/png", "image/png;base64,+/+/"),
        ("QUJD", "audio/wav;rate=16000", "audio/wav;base64,QUJD"),
        ("QUJD", "IMAGE/PNG", "image/png;base64,QUJD"),
        ("data:image/png;base64,QUJD", None, "image/png;base64,QUJD"),
        ("data:image/png;charset=x;base64,QUJD", None, "image/png;base64,QUJD"),
        ("data:;base64,QUJD", "image/png", "image/png;base64,QUJD"),
        ("data:image/svg+xml,<svg/>", None, "image/svg+xml,<svg/>"),
        ("QUJD", 'image/png";x="', "application/octet-stream;base64,QUJD"),
        ("QUJD", "x" * 500, "application/octet-stream;base64,QUJD"),
        ("QUJD", "image/*", "application/octet-stream;base64,QUJD"),
        ("QUJD", 7, "application/octet-stream;base64,QUJD"),
        (b"\xff\xd8\xff\xe0", "image/*", "image/jpeg;base64,/9j/4A=="),
        (b"RIFF1234WEBP", None, "image/webp;base64,UklGRjEyMzRXRUJQ"),
        (b"1234ftypisom", None, "video/mp4;base64,MTIzNGZ0eXBpc29t"),
    ],
)
def test_data_uris_are_such_as_weave_takes(data: object, mime_type: object, expected: str) -> None:
    assert data_uri(data, mime_type) == f"data:{expected}"


def noise(size: int, seed: int = 1) -> str:
    """Base64 of so many bytes that look like nothing."""
    return base64.b64encode(random.Random(seed).randbytes(size)).decode()


def make_call(*contents: object, **more: object) -> bytes:
    call = {
        "id": "0" * 15 + "1",
        "trace_id": "1" * 32,
        "op_name": "chat",
        "started_at": "2026-01-01T00:00:00.000000Z",
        "attributes": {"kind": "chat", "mapping_warnings": ["old"]},
        "inputs": {"messages": [{"role": "user", "content": list(contents)}]},
        **more,
    }
    return msgspec.json.encode(call)


def image(encoded: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}, "detail": "low"}


def contents_of(body: bytes) -> list[object]:
    contents: list[object] = json.loads(body)["inputs"]["messages"][0]["content"]
    return contents


def test_a_medium_above_the_limit_is_a_note_and_the_others_stay() -> None:
    small, large = noise(90_000, 1), noise(110_001, 2)
    digest = hashlib.sha256(base64.b64decode(large)).hexdigest()
    bounded = bound_call(make_call(image(small), image(large)), media_bytes=100_000, call_bytes=1 << 20)
    assert contents_of(bounded.body) == [
        image(small),
        {
            "type": "text",
            "text": f"[left out: image/png, 110001 bytes, sha256 {digest}]",
            "detail": "low",
        },
    ]
    assert json.loads(bounded.body)["attributes"] == {
        "kind": "chat",
        "mapping_warnings": ["old", "media_left_out"],
    }
    assert dict(bounded.left_out) == {"media": 1}


def test_the_limit_is_of_the_bytes_and_not_of_their_base64() -> None:
    exact = make_call(image(noise(100_000)))
    assert bound_call(exact, media_bytes=100_000, call_bytes=1 << 20).body is not None
    assert bound_call(exact, media_bytes=100_000, call_bytes=1 << 20).left_out == {}
    assert bound_call(exact, media_bytes=99_999, call_bytes=1 << 20).left_out == {"media": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "[left out: base64, 150000 bytes, sha256 {}]"),
        (
            "see ![x](data:image/png;base64,{}) here",
            "see ![x]([left out: image/png, 150000 bytes, sha256 {}]) here",
        ),
        ("data:image/png;base64,{}", "[left out: image/png, 150000 bytes, sha256 {}]"),
    ],
)
def test_large_media_are_found_wherever_they_are(text: str, expected: str) -> None:
    encoded = noise(150_000)
    digest = hashlib.sha256(base64.b64decode(encoded)).hexdigest()
    body = make_call("x", output={"result": text.format(encoded)})
    told = json.loads(bound_call(body, media_bytes=100_000, call_bytes=1 << 20).body)
    assert told["output"]["result"] == expected.format(digest)


def test_a_long_text_is_no_medium() -> None:
    body = make_call("word " * 50_000)
    assert bound_call(body, media_bytes=100_000, call_bytes=1 << 20).body == body


def test_broken_base64_has_a_digest_of_its_text() -> None:
    encoded = noise(150_000)[:-3]
    digest = hashlib.sha256(encoded.encode()).hexdigest()
    (note,) = contents_of(bound_call(make_call(image(encoded)), media_bytes=100_000, call_bytes=1 << 20).body)
    assert note == {
        "type": "text",
        "text": f"[left out: image/png, 149997 bytes, sha256 {digest} of the encoded text]",
        "detail": "low",
    }


def test_a_call_that_is_too_large_loses_its_largest_media_first() -> None:
    parts = [image(noise(size, size)) for size in (90_000, 300_000, 100_000)]
    bounded = bound_call(make_call(*parts, "text " * 40_000), media_bytes=1 << 20, call_bytes=500_000)
    contents = contents_of(bounded.body)
    assert len(bounded.body) <= 500_000
    assert [contents[0], contents[2], contents[3]] == [parts[0], parts[2], "text " * 40_000]
    assert dict(bounded.left_out) == {"media": 1}


def test_then_its_largest_texts_are_cut() -> None:
    bounded = bound_call(
        make_call("é" * 200_000, "short", "x" * 70_000), media_bytes=1 << 20, call_bytes=250_000
    )
    assert contents_of(bounded.body) == [
        "é" * 65_536 + "… [cut from 200000 characters]",
        "short",
        "x" * 70_000,
    ]
    assert len(bounded.body) <= 250_000
    assert json.loads(bounded.body)["attributes"]["mapping_warnings"] == ["old", "text_left_out"]


def test_and_what_is_many_small_things_goes_as_a_whole() -> None:
    body = make_call(
        *(f"word {n}" for n in range(50_000)), exception="E" * 70_000, summary={"usage": {"m": {"a": 1}}}
    )
    bounded = bound_call(body, media_bytes=1 << 20, call_bytes=100_000)
    told = json.loads(bounded.body)
    assert told.pop("exception")
    assert told == {
        "id": "0" * 15 + "1",
        "trace_id": "1" * 32,
        "op_name": "chat",
        "started_at": "2026-01-01T00:00:00.000000Z",
        "attributes": {"kind": "chat", "mapping_warnings": ["content_left_out", "text_left_out"]},
        "inputs": {"note": "left out: the call is larger than a request may be"},
        "output": {"note": "left out: the call is larger than a request may be"},
        "summary": {"usage": {"m": {"a": 1}}},
    }


def test_a_hundred_megabytes_become_a_note() -> None:
    encoded = "QUJD" * (25 << 20)
    bounded = bound_call(make_call(image(encoded)), media_bytes=10 << 20, call_bytes=31 << 20)
    digest = hashlib.sha256(b"ABC" * (25 << 20)).hexdigest()
    assert contents_of(bounded.body) == [
        {
            "type": "text",
            "text": f"[left out: image/png, {75 << 20} bytes, sha256 {digest}]",
            "detail": "low",
        }
    ]


@pytest.mark.parametrize(
    "hostile",
    ["data:" * 400_000, "data:image/png;base64," * 90_000, "QUJD" * 400_000 + "!", ";base64," * 250_000],
)
def test_hostile_texts_are_read_in_passing(hostile: str) -> None:
    body = make_call(hostile)
    assert bound_call(body, media_bytes=1 << 20, call_bytes=31 << 20).body == body


def test_base64_passes_the_redaction_unharmed() -> None:
    body = make_call(image(noise(3 << 20)))
    redacted = Redactor().redact(body)
    assert (redacted.body, redacted.withheld) == (body, False)


DATA = st.one_of(
    st.none(),
    st.text(max_size=30),
    st.binary(max_size=30),
    st.integers(),
    st.lists(st.integers(-1, 300), max_size=5),
)
INNER = st.dictionaries(
    st.sampled_from(
        [
            "data",
            "bytes",
            "url",
            "type",
            "mime_type",
            "mediaType",
            "format",
            "source",
            "file_id",
            "file_uri",
            "0",
        ]
    ),
    DATA,
    max_size=4,
)
PARTS = st.builds(
    lambda kind, members: {**({"type": kind} if kind else {}), **members},
    st.sampled_from(["", *MEDIA_TYPES]),
    st.dictionaries(
        st.sampled_from(
            [*MEDIA_NAMES, "content", "data", "source", "input_audio", "url", "uri", "mime_type", "base64"]
        ),
        st.one_of(DATA, INNER, st.fixed_dictionaries({"source": INNER})),
        max_size=4,
    ),
)


@settings(max_examples=100, deadline=None)
@given(PARTS)
def test_any_part_is_read_or_kept(part: dict[str, object]) -> None:
    medium = read_media(part)
    if medium is not None and medium.where == "file_data":
        assert medium.url.startswith("data:")
        if ";base64," in medium.url:
            base64.b64decode(medium.url.partition(",")[2], validate=True)
    read_messages([{"role": "user", "content": [part]}])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_survive(data: bytes) -> None:
    for form in (data, base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode(), list(data)):
        url = data_uri(form, "image/png")
        if data:
            assert url is not None
            assert base64.b64decode(url.partition(",")[2]) == data


# -- through the house -----------------------------------------------------------------------------------


def make_chat(*parts: dict[str, object]) -> dict[str, object]:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": list(parts)}]),
    }
    return spans(make_span(1, attributes, name="chat gpt-4o"))


def blob(encoded: str) -> dict[str, object]:
    return {"type": "blob", "mime_type": "image/png", "modality": "image", "content": encoded}


def test_what_was_left_out_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_WANDB_MAX_MEDIA_BYTES", "65536")
    file = write_requests(tmp_path / "in.jsonl", make_chat(blob(noise(70_000)), blob(noise(60_000))))
    out = tmp_path / "calls.jsonl"
    done = CliRunner().invoke(main, ["replay", str(file), "--no-deliver", "--calls", str(out)])
    assert done.exit_code == 0, done.output
    first, second = contents_of(out.read_bytes())
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert (first["type"], second["type"]) == ("text", "image_url")
    ledger = read_status(DataDir(tmp_path / "data")).ledger
    assert ledger.imbalance() == {}
    assert ledger.beside["calls", "left_out", "media"] == 1


@pytest.mark.slow  # starts a server of its own
def test_weaves_server_makes_content_of_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = PNG + random.Random(1).randbytes(20_000)
    with WeavePeer(backend="chdb") as peer:
        for name, value in peer.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OTEL_WANDB_PROJECT", "team/rag")
        small = blob(B64)
        file = write_requests(tmp_path / "in.jsonl", make_chat(small, blob(base64.b64encode(data).decode())))
        done = CliRunner().invoke(main, ["replay", str(file)])
        assert done.exit_code == 0, done.output
        inline, published = read_contents(peer)
        assert inline == f"data:image/png;base64,{B64}"
        assert published.startswith("weave:///team/rag/object/")
        (value,) = ask(peer, "refs/read_batch", {"refs": [published]}).json()["vals"]
        assert value["weave_type"] == {"type": "weave.type_wrappers.Content.content.Content"}
        question = {"project_id": "team/rag", "digest": value["files"]["content"]}
        assert ask(peer, "file/content", question).content == data


def read_contents(peer: WeavePeer) -> list[str]:
    """The URLs in the first message of the only call, as the server has them."""
    line = ask(peer, "calls/stream_query", {"project_id": "team/rag"}).text
    return [part["image_url"]["url"] for part in json.loads(line)["inputs"]["messages"][0]["content"]]


def ask(peer: WeavePeer, path: str, question: object) -> httpx.Response:
    answer = httpx.post(
        f"{peer.url}/{path}", json=question, auth=("api", peer.api_key), trust_env=False, timeout=30.0
    )
    answer.raise_for_status()
    return answer
