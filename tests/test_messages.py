"""Messages, tools and documents of any shape become one shape, without loss."""

from __future__ import annotations

import msgspec
import pytest

from otel_wandb.conventions.documents import read_documents
from otel_wandb.conventions.messages import finish_reason, read_choices, read_messages, read_system
from otel_wandb.conventions.tools import read_tools
from otel_wandb.records import Value
from tests.genai_spans import encode, text_message

CALL = {"type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(text_message("user", "Hi"), [{"role": "user", "content": "Hi"}], id="text"),
        pytest.param(
            {"role": "user", "content": "Hi"}, [{"role": "user", "content": "Hi"}], id="chat-completions"
        ),
        pytest.param({"role": "ai", "content": "Hi"}, [{"role": "assistant", "content": "Hi"}], id="role"),
        pytest.param("Hi", [{"role": "user", "content": "Hi"}], id="string"),
        pytest.param(
            text_message("user", "Hi", name="bob"),
            [{"role": "user", "content": "Hi", "name": "bob"}],
            id="name",
        ),
        pytest.param(
            {"role": "user", "parts": [{"type": "text", "content": "a"}, {"type": "text", "content": "b"}]},
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            id="texts",
        ),
        pytest.param(
            {
                "role": "assistant",
                "parts": [
                    {"type": "reasoning", "content": "hm"},
                    {"type": "text", "content": "Hi"},
                    {"type": "tool_call", "id": "c1", "name": "f", "arguments": {"a": 1}},
                ],
            },
            [{"role": "assistant", "content": "Hi", "reasoning": "hm", "tool_calls": [{"id": "c1", **CALL}]}],
            id="reasoning-and-call",
        ),
        pytest.param(
            {
                "role": "assistant",
                "parts": [{"type": "tool_call", "name": "f", "arguments": '{"a":1}', "index": 3}],
            },
            [{"role": "assistant", "content": None, "tool_calls": [{**CALL, "index": 3}]}],
            id="call-with-text-arguments-and-extras",
        ),
        pytest.param(
            {
                "role": "user",
                "parts": [
                    {"type": "tool_call_response", "id": "c1", "response": {"t": 18}},
                    {"type": "tool_call_response", "id": "c2", "result": "sunny"},
                    {"type": "text", "content": "And now?"},
                ],
            },
            [
                {"role": "tool", "content": '{"t":18}', "tool_call_id": "c1"},
                {"role": "tool", "content": "sunny", "tool_call_id": "c2"},
                {"role": "user", "content": "And now?"},
            ],
            id="results-in-a-user-message",
        ),
        pytest.param(
            {"role": "assistant", "tool_calls": [{"id": "c1", **CALL}], "content": None},
            [{"role": "assistant", "content": None, "tool_calls": [{"id": "c1", **CALL}]}],
            id="chat-completions-call",
        ),
        pytest.param(
            {"role": "assistant", "tool_calls": [{"id": "c1", **CALL}]},
            [{"role": "assistant", "content": None, "tool_calls": [{"id": "c1", **CALL}]}],
            id="call-without-content",
        ),
        pytest.param(
            {"role": "tool", "content": "ok", "tool_call_id": "c1"},
            [{"role": "tool", "content": "ok", "tool_call_id": "c1"}],
            id="chat-completions-result",
        ),
        pytest.param(
            {
                "role": "user",
                "parts": [{"type": "blob", "mime_type": "image/png", "modality": "image", "content": "QUJD"}],
            },
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image_url",
                            "image_url": {"url": "data:image/png;base64,QUJD"},
                            "modality": "image",
                        }
                    ],
                }
            ],
            id="image",
        ),
        pytest.param(
            {"role": "user", "parts": [{"type": "blob", "mime_type": "audio/wav", "content": b"ABC"}]},
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_audio", "input_audio": {"data": "data:audio/wav;base64,QUJD"}}
                    ],
                }
            ],
            id="audio-bytes",
        ),
        pytest.param(
            {"role": "user", "parts": [{"type": "uri", "mime_type": "image/png", "uri": "https://x/y.png"}]},
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image_url",
                            "image_url": {"url": "https://x/y.png"},
                            "mime_type": "image/png",
                        }
                    ],
                }
            ],
            id="uri",
        ),
        pytest.param(
            {"role": "user", "parts": [{"type": "file", "modality": "document", "file_id": "f-1"}]},
            [
                {
                    "role": "user",
                    "content": [{"type": "file", "file": {"file_id": "f-1"}, "modality": "document"}],
                }
            ],
            id="file",
        ),
        pytest.param(
            {
                "role": "assistant",
                "parts": [{"type": "server_tool_call", "id": "s", "server_tool_call": {"q": 1}}],
            },
            [
                {
                    "role": "assistant",
                    "content": [{"type": "server_tool_call", "id": "s", "server_tool_call": {"q": 1}}],
                }
            ],
            id="anything-else",
        ),
        pytest.param(
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "x"}]},
            [{"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "x"}]}],
            id="signed-reasoning",
        ),
        pytest.param(
            {
                "role": "user",
                "content": [{"text": "Hi"}, {"toolResult": {"toolUseId": "c1", "content": [{"text": "ok"}]}}],
            },
            [{"role": "user", "content": "Hi"}, {"role": "tool", "content": "ok", "tool_call_id": "c1"}],
            id="bedrock",
        ),
        pytest.param(
            {
                "role": "assistant",
                "content": [{"type": "tool-call", "toolCallId": "c1", "toolName": "f", "input": {"a": 1}}],
            },
            [{"role": "assistant", "content": None, "tool_calls": [{"id": "c1", **CALL}]}],
            id="ai-sdk",
        ),
        pytest.param({"role": "user", "parts": []}, [{"role": "user", "content": None}], id="empty"),
    ],
)
def test_messages_become_chat_completions(message: Value, expected: list[dict[str, Value]]) -> None:
    assert read_messages([message]) == expected
    if not isinstance(message, str) and b"ABC" not in str(message).encode():
        assert read_messages(encode([message])) == expected, "as JSON they read the same"


def test_choices_carry_their_reason_and_nothing_else_does() -> None:
    answers = [text_message("assistant", "A", finish_reason="end_turn"), text_message("assistant", "B")]
    expected = [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "A"}},
        {"index": 1, "message": {"role": "assistant", "content": "B"}},
    ]
    assert read_choices(answers) == read_choices(encode(answers)) == expected
    assert read_choices("A") == [{"index": 0, "message": {"role": "assistant", "content": "A"}}]
    assert read_choices("[]") is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("tool-calls", "tool_calls"),
        ("tool_use", "tool_calls"),
        ("FinishReason.STOP", "stop"),
        ("max_tokens", "length"),
        ("refusal", "refusal"),
        ("Stopped by sk-ant-A0", "Stopped by sk-ant-A0"),  # a secret stays what it is, and so is found
        ("", None),
        (3, None),
    ],
)
def test_finish_reasons(given: object, expected: str | None) -> None:
    assert finish_reason(given) == expected


@pytest.mark.parametrize(
    "value",
    [
        '[{"type":"text","content":"Be brief."}]',
        [{"type": "text", "content": "Be brief."}],
        ["Be brief."],
        "Be brief.",
        [{"role": "system", "content": "Be brief."}],
    ],
)
def test_system_instructions(value: Value) -> None:
    assert read_system(value) == [{"role": "system", "content": "Be brief."}]


def test_tools_of_any_shape() -> None:
    schema = {"type": "object"}
    given = [
        {"name": "a", "input_schema": schema, "strict": True},
        encode({"type": "function", "name": "b", "description": "B", "inputSchema": schema}),
        {"type": "function", "function": {"name": "c"}},
        {"type": "web_search"},
    ]
    raw = read_tools(given)
    assert raw is not None
    assert msgspec.json.decode(raw) == [
        {"type": "function", "function": {"name": "a", "parameters": schema, "strict": True}},
        {"type": "function", "function": {"name": "b", "description": "B", "parameters": schema}},
        {"type": "function", "function": {"name": "c"}},
        {"type": "web_search"},
    ]
    assert read_tools("[]") is None


def test_documents_of_any_shape() -> None:
    given = [
        {"id": "1", "content": "a", "score": 0.9, "metadata": {"source": "x"}},
        {"page_content": "b", "metadata": {"source": "y"}, "type": "Document"},
        "c",
        None,
    ]
    assert read_documents(encode(given)) == [
        {"id": "1", "content": "a", "score": 0.9, "metadata": {"source": "x"}},
        {"content": "b", "metadata": {"source": "y", "type": "Document"}},
        {"content": "c"},
    ]
