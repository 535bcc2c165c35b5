"""OTLP out of files: the forms that are read, and what is said about the rest."""

from __future__ import annotations

import gzip
import importlib
import json
import random
import sys
import zlib
from pathlib import Path

import pytest
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2

from otel_wandb.errors import InputError
from otel_wandb.ingest.files import Request, Unreadable, read_requests
from otel_wandb.ingest.otlp import decode
from otel_wandb.journal import Codec, Kind
from otel_wandb.records import SpanBatch
from tests.otlp_samples import START_NS, logs, metrics, span, to_document, to_json, traces

LINE_A = to_json(traces(span(name="a"), span(name="b")))
LINE_B = to_json(traces(span(name="c")))
LOG_LINE = to_json(logs(logs_pb2.LogRecord(time_unix_nano=START_NS)))
POINTS = metrics_pb2.Gauge(data_points=[metrics_pb2.NumberDataPoint(as_int=1, time_unix_nano=START_NS)] * 3)
METRICS = metrics(metrics_pb2.Metric(name="queue", gauge=POINTS))
METRIC_LINE = to_json(METRICS)


def write(directory: Path, content: bytes, name: str = "telemetry.jsonl") -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


def outline(path: Path) -> list[tuple[int, str, int]]:
    """Line, kind and items of each request; a `?` with what was expected for what is unreadable."""
    found = []
    for read in read_requests(path):
        name, line = read.place.rsplit(":", 1)
        assert name == str(path)
        if isinstance(read, Request):
            decoded = decode(read.kind, Codec.PLAIN, read.payload)
            assert decoded.items == read.items
            found.append((int(line), read.kind.name, read.items))
        else:
            found.append((int(line), "?" + read.expected, 0))
    return found


def unreadable(path: Path) -> list[Unreadable]:
    return [read for read in read_requests(path) if isinstance(read, Unreadable)]


def test_one_request_a_line_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, b"\n".join([LINE_A, LOG_LINE, METRIC_LINE, LINE_B]))
    assert outline(path) == [
        (1, "OTLP_TRACES_JSON", 2),
        (2, "OTLP_LOGS_JSON", 1),
        (3, "OTLP_METRICS_JSON", 3),
        (4, "OTLP_TRACES_JSON", 1),
    ]
    assert [read.payload for read in read_requests(path) if isinstance(read, Request)] == [
        LINE_A,
        LOG_LINE,
        METRIC_LINE,
        LINE_B,
    ]


def test_blank_lines_windows_line_ends_a_byte_order_mark_and_zeros_are_no_matter(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf\r\n" + LINE_A + b"\r\n\r\n  \t\n" + bytes(100) + LINE_B + b"\r\n" + bytes(50)
    assert outline(write(tmp_path, content)) == [(2, "OTLP_TRACES_JSON", 2), (5, "OTLP_TRACES_JSON", 1)]
    marked = write(tmp_path, b"\xef\xbb\xbf" + LINE_A, "marked.json")
    assert outline(marked) == [(1, "OTLP_TRACES_JSON", 2)]


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    for content in (b"", b"\n\n", b"{}\n", b"{ }", gzip.compress(b"")):
        assert list(read_requests(write(tmp_path, content))) == []


@pytest.mark.parametrize("indent", [2, 0, "\t"])
def test_one_document_over_many_lines(tmp_path: Path, indent: int | str) -> None:
    text = json.dumps(to_document(traces(span(name='a "quoted" } brace'), span())), indent=indent)
    assert outline(write(tmp_path, text.encode())) == [(1, "OTLP_TRACES_JSON", 2)]


def test_several_documents_over_many_lines(tmp_path: Path) -> None:
    texts = [json.dumps(json.loads(line), indent=2) for line in (LINE_A, METRIC_LINE, LINE_B)]
    path = write(tmp_path, "\n".join(texts).encode())
    starts = [1, 1 + len(texts[0].splitlines()), 1 + len((texts[0] + "\n" + texts[1]).splitlines())]
    kinds = ["OTLP_TRACES_JSON", "OTLP_METRICS_JSON", "OTLP_TRACES_JSON"]
    assert outline(path) == list(zip(starts, kinds, [2, 3, 1], strict=True))


def test_an_array_of_documents(tmp_path: Path) -> None:
    for separator in (b",", b",\n"):
        path = write(tmp_path, b"[" + separator.join([LINE_A, b'{"foreign": 1}', LOG_LINE]) + b"]")
        kinds = [kind for _, kind, _ in outline(path)]
        assert (kinds[0], kinds[1][0], kinds[2]) == ("OTLP_TRACES_JSON", "?", "OTLP_LOGS_JSON")


def test_a_document_with_several_signals_gives_a_request_for_each(tmp_path: Path) -> None:
    both = json.loads(LINE_A) | json.loads(LOG_LINE)
    path = write(tmp_path, json.dumps(both).encode())
    assert outline(path) == [(1, "OTLP_TRACES_JSON", 2), (1, "OTLP_LOGS_JSON", 1)]


def test_snake_case_is_told_apart_too(tmp_path: Path) -> None:
    text = LINE_A.replace(b"resourceSpans", b"resource_spans").replace(b"scopeSpans", b"scope_spans")
    assert outline(write(tmp_path, text)) == [(1, "OTLP_TRACES_JSON", 2)]


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    content = gzip.compress(LINE_A + b"\n") + gzip.compress(LINE_B + b"\n") + bytes(512)
    for name in ("traces.jsonl.gz", "traces.json"):
        path = write(tmp_path, content, name)
        assert outline(path) == [(1, "OTLP_TRACES_JSON", 2), (2, "OTLP_TRACES_JSON", 1)]


def test_of_a_gzip_file_that_is_cut_off_what_was_readable_is_kept(tmp_path: Path) -> None:
    lines = [to_json(traces(span(name=f"span {number}"))) for number in range(2000)]
    stream = zlib.compressobj(9, wbits=31)
    whole = stream.compress(b"\n".join(lines[:1500]) + b"\n") + stream.flush(zlib.Z_FULL_FLUSH)
    whole += stream.compress(b"\n".join(lines[1500:])) + stream.flush()
    for cut in (len(whole) // 2, len(whole) - 9):
        found = outline(write(tmp_path, whole[:cut], "traces.jsonl.gz"))
        assert [line for line, _, _ in found[:-1]] == list(range(1, len(found)))
        assert {kind for _, kind, _ in found[:-1]} == {"OTLP_TRACES_JSON"}
        assert found[-1][1] == "?the rest of a gzip file: it is cut off here"
        assert 1 < len(found) <= 2001


def test_of_a_gzip_file_that_is_damaged_what_was_readable_is_kept(tmp_path: Path) -> None:
    lines = b"\n".join(to_json(traces(span(name=f"span {number}"))) for number in range(2000))
    damaged = bytearray(gzip.compress(lines))
    half = len(damaged) // 2
    damaged[half:-8] = random.Random(5).randbytes(len(damaged) - 8 - half)
    found = outline(write(tmp_path, bytes(damaged)))
    assert {kind for _, kind, _ in found[:500]} == {"OTLP_TRACES_JSON"}
    assert found[-1][1].startswith("?gzip data that is not damaged")


def test_a_line_that_is_cut_off_does_not_take_the_next_ones_with_it(tmp_path: Path) -> None:
    for cut in range(20, len(LINE_A) - 1, 25):
        path = write(tmp_path, LINE_B + b"\n" + LINE_A[:cut] + b"\n" + LINE_B + b"\n" + LOG_LINE + b"\n")
        found = outline(path)
        assert [line for line, _, _ in found] == [1, 2, 3, 4]
        assert found[1][1].startswith("?")
        assert [kind for _, kind, _ in found if kind[0] != "?"] == [
            "OTLP_TRACES_JSON",
            "OTLP_TRACES_JSON",
            "OTLP_LOGS_JSON",
        ]


def test_a_file_that_ends_in_the_middle_of_a_document(tmp_path: Path) -> None:
    for text in (LINE_A[:-30], json.dumps(json.loads(LINE_A), indent=2).encode()[:-30]):
        path = write(tmp_path, LINE_B + b"\n" + text)
        assert outline(path)[1:] == [(2, "?the rest of a JSON document: it is cut off", 0)]


def test_requests_are_found_behind_a_document_that_never_ends(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"unclosed": [\n noise\n[{"a":\n' + LINE_A + b",\n{\n")
    assert [(line, kind[:12]) for line, kind, _ in outline(path)] == [
        (1, "?the rest of"),
        (4, "OTLP_TRACES_"),
    ]


def test_every_foreign_line_is_named_with_what_was_expected(tmp_path: Path) -> None:
    foreign = b'time,name\n1,chat\n{"resource": {"x": 1}, "span": 2}\n' + LINE_A + b'\n"text"\n[1, 2]\n'
    found = outline(write(tmp_path, foreign))
    wanted = 'an OTLP/JSON request (an object with "resourceSpans", "resourceLogs" or "resourceMetrics")'
    assert [line for line, _, _ in found] == [1, 2, 3, 4, 5, 6, 6]
    assert found[3] == (4, "OTLP_TRACES_JSON", 2)
    for _, kind, _ in found[:3] + found[4:]:
        assert kind.startswith("?" + wanted)
    assert found[0][1].endswith(": Expecting value at character 1")
    assert found[2][1].endswith(', not one with "resource", "span"')


def test_the_message_names_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, LINE_A + b"\nnonsense\n")
    (bad,) = unreadable(path)
    assert bad.place == f"{path}:2"


@pytest.mark.parametrize(
    ("name", "content", "signal"),
    [
        ("x.json", b'{"resourceSpans": [', "spans"),
        ("x.json", b'{"resource_logs": [', "log_records"),
        ("traces.json", b'{"resourceMetrics": [', "metric_points"),
        ("my-traces.2026.jsonl", b"nonsense", "spans"),
        ("otel_logs.json", b"nonsense", "log_records"),
        ("metric.jsonl.gz", b"nonsense", "metric_points"),
        ("catalog.json", b"nonsense", None),
    ],
)
def test_the_signal_is_guessed_from_the_text_or_the_name(
    tmp_path: Path, name: str, content: bytes, signal: str | None
) -> None:
    (bad,) = unreadable(write(tmp_path, content, name))
    assert bad.signal == signal


def test_a_foreign_binary_file_is_one_complaint(tmp_path: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\n\xff\0" * 5000
    elf = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\n" * 100
    for content in (png, elf, gzip.compress(png), b"\x0a\x03abc" + bytes(50)):
        (bad,) = unreadable(write(tmp_path, content))
        assert bad.place.endswith(":1")
        assert "OTLP" in bad.expected


def test_utf16_is_named_with_its_remedy(tmp_path: Path) -> None:
    (bad,) = unreadable(write(tmp_path, LINE_A.decode().encode("utf-16")))
    assert "iconv -f UTF-16" in bad.expected


def length_prefixed(*messages: bytes) -> bytes:
    return b"".join(len(message).to_bytes(4) + message for message in messages)


def test_the_collectors_protobuf_files(tmp_path: Path) -> None:
    requests = [traces(span(), span()), logs(logs_pb2.LogRecord(time_unix_nano=START_NS)), METRICS]
    content = length_prefixed(*[request.SerializeToString() for request in requests])
    expected = [(1, "OTLP_TRACES", 2), (2, "OTLP_LOGS", 1), (3, "OTLP_METRICS", 3)]
    assert outline(write(tmp_path, content)) == expected
    assert outline(write(tmp_path, gzip.compress(content))) == expected
    found = outline(write(tmp_path, content[:-5]))
    assert found[:2] == expected[:2]
    assert found[2] == (3, "?a message to its end: the file is cut off here", 0)


def test_an_empty_envelope_of_a_protobuf_file_holds_nothing(tmp_path: Path) -> None:
    content = length_prefixed(traces().SerializeToString(), METRICS.SerializeToString())
    assert outline(write(tmp_path, content)) == [(1, "OTLP_TRACES", 0), (2, "OTLP_METRICS", 3)]


def test_a_bad_message_of_a_protobuf_file_does_not_take_the_next_ones_with_it(tmp_path: Path) -> None:
    good = traces(span()).SerializeToString()
    content = length_prefixed(good, b"\x0a\x7fbroken", b"", good)
    assert [kind[0] for _, kind, _ in outline(write(tmp_path, content))] == ["O", "?", "O"]


@pytest.mark.parametrize("request_", [traces(span(), span()), METRICS], ids=["traces", "metrics"])
def test_a_single_protobuf_request(tmp_path: Path, request_: object) -> None:
    assert hasattr(request_, "SerializeToString")
    (read,) = read_requests(write(tmp_path, request_.SerializeToString(), "request.bin"))
    assert isinstance(read, Request)
    assert read.kind in (Kind.OTLP_TRACES, Kind.OTLP_METRICS)
    assert read.payload == request_.SerializeToString()


def test_zstd_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = unreadable(write(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(100)))
    assert "zstd -d" in whole.expected
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (message,) = unreadable(write(tmp_path, length_prefixed(b"\x28\xb5\x2f\xfd" + bytes(20)) * 3))
    assert "pip install zstandard" in message.expected


def test_the_collectors_zstd_files_with_the_package(tmp_path: Path) -> None:
    pytest.importorskip("zstandard")
    pack = importlib.import_module("zstandard").ZstdCompressor().compress
    content = length_prefixed(pack(LINE_A), pack(traces(span()).SerializeToString()), pack(b"nonsense"))
    found = outline(write(tmp_path, content))
    assert found[:2] == [(1, "OTLP_TRACES_JSON", 2), (2, "OTLP_TRACES", 1)]
    assert found[2][1].startswith("?")


def test_a_file_that_is_not_there_or_no_file_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(InputError, match=f"{path}: expected a file that can be read"):
            list(read_requests(path))


def test_a_long_line_is_streamed_and_whole(tmp_path: Path) -> None:
    many = to_json(traces(*[span(name=f"span {number}") for number in range(3000)]))
    assert len(many) > 2 * (1 << 18)
    path = write(tmp_path, many + b"\n" + LINE_B)
    assert outline(path) == [(1, "OTLP_TRACES_JSON", 3000), (2, "OTLP_TRACES_JSON", 1)]


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_wandb.ingest.files._MAX_DOCUMENT_BYTES", 4096)
    endless = b'{"resourceSpans": [\n' + b'{"scopeSpans": []},\n' * 1000
    found = outline(write(tmp_path, endless + LINE_B))
    assert found[0] == (1, "?at most 4096 bytes of JSON", 0)
    assert found[-1] == (1002, "OTLP_TRACES_JSON", 1)
    found = outline(write(tmp_path, LINE_B + b"\n" + b"x" * 10_000_000))
    assert found[0] == (1, "OTLP_TRACES_JSON", 1)
    assert found[-1] == (2, "?a line of at most 4096 bytes; the rest is not read", 0)


def test_reading_stops_where_the_caller_stops(tmp_path: Path) -> None:
    path = write(tmp_path, b"\n".join([LINE_A] * 3))
    reading = read_requests(path)
    first = next(reading)
    assert isinstance(first, Request)
    batches = decode(first.kind, Codec.PLAIN, first.payload).batches
    assert [kept.name for batch in batches if isinstance(batch, SpanBatch) for kept in batch.spans] == [
        "a",
        "b",
    ]
    reading.close()  # type: ignore[attr-defined]  # a generator, though the signature promises less
