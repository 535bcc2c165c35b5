"""Functions of the user's: what they see, and what becomes of what they cannot redact."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as limited
from hypothesis import strategies as st

from otel_wandb.own_redaction import OwnRedactor, RedactionError
from tests.genai_spans import encode
from tests.test_redaction_rules import body_of, boundary, redact

NOTE = "withheld: the redaction of this call failed"

OWN = """
def shout(text): return text.replace("Eiffel", "EIFFEL")
def fail(text): raise ValueError(text)
def forget(text): return None
def leave(text): raise SystemExit(3)
not_callable = 5
"""


@pytest.fixture
def _own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_privacy.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("own_privacy", None)


@pytest.mark.usefixtures("_own_module")
class TestOwnFunction:
    def test_it_sees_each_text(self) -> None:
        told = redact(body_of(), redact_with="own_privacy:shout")
        assert "EIFFEL" in encode(told["inputs"])
        assert json.loads(told["exception"])["message"] == "EIFFEL broke"
        assert "Eiffel" not in encode(told)
        assert told["id"] == f"{1:016x}"

    def test_names_and_rows_and_alerts_cross_it_too(self) -> None:
        own = boundary(redact_with="own_privacy:shout")
        assert own.clean({"a": "Eiffel", "b": 1}) == {"a": "EIFFEL", "b": 1}
        assert own.redact(b'["Eiffel",1]').body == b'["EIFFEL",1]'

    def test_patterns_look_at_what_it_gives(self) -> None:
        body = msgspec.json.encode({"id": "1", "inputs": {"password": "Eiffel"}})
        told = redact(body, redact_with="own_privacy:shout")
        assert told["inputs"] == {"password": "[redacted:assignment]"}

    @pytest.mark.parametrize("name", ["fail", "forget", "leave", "not_callable", "missing"])
    def test_where_it_fails_all_is_withheld(self, name: str, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.ERROR, "otel_wandb.redaction"):
            own = boundary(redact_with=f"own_privacy:{name}")
            redacted = own.redact_call(body_of())
        assert redacted.withheld
        assert b"Eiffel" not in redacted.body
        assert msgspec.json.decode(redacted.body)["output"] == NOTE
        assert "Eiffel" not in caplog.text
        assert own.redact(b'["Eiffel"]').withheld
        assert own.clean({"a": "Eiffel", "service.name": "rag"}) == {"a": "withheld", "service.name": "rag"}
        assert own.counts == {("attributes", "withheld", "redactor_failed"): 1}

    def test_after_three_hangs_it_is_given_up(self) -> None:
        blocked, calls = threading.Event(), []

        def hang(text: str) -> str:
            calls.append(text)
            if text == "hang":
                blocked.wait()
            return text

        own = OwnRedactor(hang, limit_s=0.05)
        assert own.redact(["a", "b"]) == ["a", "b"]
        for _ in range(3):
            with pytest.raises(RedactionError, match=r"did not answer within 0\.05 s"):
                own.redact(["hang", "c"])
        with pytest.raises(RedactionError, match="did not answer 3 times"):
            own.redact(["a"])
        assert calls == ["a", "b", "hang", "hang", "hang"]
        blocked.set()

    def test_one_hang_costs_one_call(self) -> None:
        blocked = threading.Event()

        def hang(text: str) -> str:
            if text == "hang":
                blocked.wait()
            return text

        own = OwnRedactor(hang, limit_s=0.2)
        with pytest.raises(RedactionError):
            own.redact(["hang"])
        assert own.redact(["a"]) == ["a"]
        blocked.set()
        assert own.redact(["b"]) == ["b"]


@limited(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers(-5, 5) | st.text(max_size=6),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=10,
    )
)
def test_a_function_that_changes_nothing_changes_nothing(value: object) -> None:
    from otel_wandb.redaction import mask
    from otel_wandb.redaction_rules import Rules

    rules = Rules(mask, own=OwnRedactor(lambda text: text))
    for document in ({"id": "1", "inputs": value}, {"id": "1", "exception": encode({"type": value})}):
        body = msgspec.json.encode(document)
        assert rules.change_call(body) == (body, 0)
