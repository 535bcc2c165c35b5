"""What instrumentations of ours are made of: content and patches; and what users say by hand."""

from __future__ import annotations

import ast
import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otel_wandb
from otel_wandb.instrument.content import (
    CAPTURE,
    MAX_MEDIA_BYTES,
    MAX_TEXT_CHARS,
    ContentReader,
    captures_content,
)
from otel_wandb.instrument.gradio import GradioInstrumentor
from otel_wandb.instrument.patching import Patches
from otel_wandb.instrument.streamlit import StreamlitInstrumentor

ROOM = Path(otel_wandb.__file__).parent / "instrument"
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def file_of(path: Path, **more: object) -> dict[str, object]:
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, **more}


class TestContent:
    @given(JSON.filter(lambda value: "__type__" not in str(value) and "file" not in str(value)))
    def test_what_is_json_stays_what_it_is(self, value: object) -> None:
        assert ContentReader().tell(value) == value
        encoded = ContentReader().encode(value)
        assert encoded == value if isinstance(value, str) else json.loads(encoded) == value

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            (float("nan"), "nan"),
            ({1: (2, None)}, {"1": [2, None]}),
            ({"__type__": "update", "value": "new", "visible": True}, "new"),
            (complex(1, 2), "(1+2j)"),
            ("x" * (MAX_TEXT_CHARS + 1), "x" * MAX_TEXT_CHARS + f"… [cut, {MAX_TEXT_CHARS + 1} characters]"),
            (
                "data:image/png;base64," + "A" * MAX_TEXT_CHARS,
                "data:image/png;base64," + "A" * MAX_TEXT_CHARS,
            ),
            (
                "data:image/png;base64," + "A" * 2 * MAX_MEDIA_BYTES,
                f"[left out: data:image/png;base64, {2 * MAX_MEDIA_BYTES + 22} characters]",
            ),
        ],
    )
    def test_what_is_not_json_becomes_it(self, value: object, told: object) -> None:
        assert ContentReader().tell(value) == told

    def test_too_much_is_cut_and_says_so(self) -> None:
        told = ContentReader().encode([list(range(100))] * 10_000)
        assert "left out: too many values" in told
        assert len(told) < 1_000_000
        deep: object = "bottom"
        for _ in range(5000):
            deep = [deep]
        assert "left out" in ContentReader().encode(deep)

    def test_media_in_the_folder_become_data_uris(self, tmp_path: Path) -> None:
        (tmp_path / "cat.png").write_bytes(PNG)
        uri = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
        reader = ContentReader([str(tmp_path)])
        assert reader.tell(file_of(tmp_path / "cat.png")) == uri
        part = {"type": "file", "file": file_of(tmp_path / "cat.png", mime_type="image/png")}
        assert reader.tell({"role": "user", "content": [part]}) == {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": uri}}],
        }

    def test_files_elsewhere_are_not_read(self, tmp_path: Path) -> None:
        inside, outside = tmp_path / "in", tmp_path / "in-not"
        for folder in (inside, outside):
            folder.mkdir()
        (outside / "cat.png").write_bytes(PNG)
        (inside / "link.png").symlink_to(outside / "cat.png")
        reader = ContentReader([str(inside)])
        for path in (
            outside / "cat.png",
            inside / ".." / "in-not" / "cat.png",
            inside / "link.png",
            inside / "no.png",
        ):
            assert reader.tell(file_of(path, orig_name="a.png", size=9)) == {
                "file": "a.png",
                "mime_type": "image/png",
                "size": 9,
            }
        assert reader.tell(file_of(Path("relative.png"))) == {
            "file": "relative.png",
            "mime_type": "image/png",
        }

    def test_media_beyond_the_limit_of_an_event_are_notes(self, tmp_path: Path) -> None:
        (tmp_path / "cat.png").write_bytes(PNG)
        reader = ContentReader([str(tmp_path)], max_media_bytes=2 * len(PNG) - 1)
        first, second = (reader.tell(file_of(tmp_path / "cat.png")) for _ in range(2))
        assert str(first).startswith("data:image/png")
        assert second == {"file": "cat.png", "mime_type": "image/png"}

    @pytest.mark.parametrize(
        ("value", "captures"),
        [("", True), ("SPAN_ONLY", True), ("true", True), ("NO_CONTENT", False), ("False", False)],
    )
    def test_opentelemetry_s_switch_holds(self, value: str, captures: bool) -> None:
        assert captures_content({CAPTURE: value}) is captures
        assert captures_content({})


@pytest.fixture
def module() -> Iterator[ModuleType]:
    made = ModuleType("otel_wandb_tests_patched")
    exec("def work(n): return n\nclass Thing:\n    def work(self, n): return n", made.__dict__)
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def double(wrapped: Any, _: object, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Any:
    return 2 * wrapped(*args, **kwargs)


def test_patches_hold_and_are_taken_back(module: Any) -> None:
    original, by_name = module.work, module.work
    places = ("work", "Thing.work", "gone", "Gone.work", "Thing.gone")
    patches = Patches(*((module.__name__, place, double) for place in places))
    patches.apply()
    assert (module.work(1), module.Thing().work(2)) == (2, 4)
    kept = module.work
    patches.remove()
    assert (module.work(1), module.Thing().work(2), by_name(1)) == (1, 2, 1)
    assert module.work is original
    assert kept(1) == 1  # whoever has imported it by name has no more than the original, either


def test_a_module_is_patched_when_it_is_imported_and_not_before(tmp_path: Path) -> None:
    (tmp_path / "late_module.py").write_text("def work(n): return n\n")
    code = (
        "import sys\nfrom otel_wandb.instrument.patching import Patches\n"
        "double = lambda wrapped, _, args, kwargs: 2 * wrapped(*args, **kwargs)\n"
        "patches = Patches(('late_module', 'work', double)); patches.apply()\n"
        "assert 'late_module' not in sys.modules\n"
        "import late_module\nprint(late_module.work(1))\npatches.remove()\nprint(late_module.work(1))\n"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == "2\n1\n"


def test_instrumentations_know_nothing_of_the_rest() -> None:
    allowed = sys.stdlib_module_names | {"opentelemetry", "wrapt"}
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                ours = name == "otel_wandb" or name.startswith("otel_wandb.instrument")
                assert ours or name.partition(".")[0] in allowed, (path.name, name)


@pytest.mark.parametrize("instrumentor", [GradioInstrumentor, StreamlitInstrumentor])
def test_where_the_package_is_missing_nothing_is_patched(
    instrumentor: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = instrumentor()
    made.instrument()
    assert not made.is_instrumented_by_opentelemetry
    assert "no installed version was found" in caplog.text


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.services.statements_cases"],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.stderr.count("A prediction could not be told") == 2
    assert done.stderr.count("The feedback 'feedback' could not be told") == 2
    assert "looks like 00-TRACE_ID-SPAN_ID-01" in done.stderr
    return found


class TestStatements:
    def test_a_prediction_is_on_its_span(self, said: dict[str, Any]) -> None:
        told = {
            "model": "m1",
            "prediction.label": "cat",
            "prediction.value": "cat",
            "prediction.confidence": 0.75,
        }
        assert said["spans"]["one"] == [told, [["prediction", told]]]
        attributes, events = said["spans"]["many"]
        assert len(events) == 5
        assert attributes["prediction.value"] == "{'box': [1, 2]}"
        assert events[2] == ["prediction", {"prediction.label": "dog", "prediction.value": "dog"}]

    def test_confidences_are_a_histogram_by_label(self, said: dict[str, Any]) -> None:
        points = {
            json.dumps(labels): (name, unit, count, total)
            for name, unit, labels, count, total in said["points"]
        }
        assert points == {
            '{"model": "m1", "prediction.label": "cat"}': ("prediction.confidence", "1", 1, 0.75),
            '{"prediction.label": "True"}': ("prediction.confidence", "1", 1, 1.0),
            '{"prediction.label": "answer"}': ("prediction.confidence", "1", 1, 0.25),
            "{}": ("prediction.confidence", "1", 1, 0.5),
        }

    def test_feedback_is_an_evaluation_of_the_span_that_is_meant(self, said: dict[str, Any]) -> None:
        one, judge = said["ids"]
        prefix = "gen_ai.evaluation"
        human = {f"{prefix}.evaluator.type": "human"}
        assert [name for name, _, _ in said["logs"]] == ["gen_ai.evaluation.result"] * 4
        assert [(span_id, attributes) for _, span_id, attributes in said["logs"]] == [
            (one, {f"{prefix}.name": "helpful", **human, f"{prefix}.score.value": 1.0, "user.id": "u1"}),
            (
                one,
                {
                    f"{prefix}.name": "stars",
                    f"{prefix}.evaluator.type": "llm",
                    f"{prefix}.score.value": 4.0,
                    f"{prefix}.score.label": "good",
                    f"{prefix}.explanation": "it was",
                },
            ),
            (judge, {f"{prefix}.name": "feedback", **human, f"{prefix}.score.label": "bad", "model": "m1"}),
            (
                judge,
                {
                    f"{prefix}.name": "feedback",
                    **human,
                    f"{prefix}.score.value": 0.0,
                    "gen_ai.response.id": "resp-1",
                },
            ),
        ]

    def test_without_logs_it_is_an_event_of_the_current_span(self, said: dict[str, Any]) -> None:
        ((name, told),) = said["spans"]["no logs"][1]
        assert (name, told["gen_ai.evaluation.score.value"]) == ("gen_ai.evaluation.result", 0.5)

    def test_they_bring_nothing_heavy_along(self, said: dict[str, Any]) -> None:
        assert said["rooms"] == ["instrument"]
        assert not set(said["imported"]) & {"wandb", "weave", "msgspec", "numpy", "wrapt"}
