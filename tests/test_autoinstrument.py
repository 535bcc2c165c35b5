"""The distro's defaults, and that there is one provider, whoever sets it and when."""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_wandb.datadir import DataDir
from otel_wandb.ingest.autoinstrument import CAPTURE_CONTENT, EXCLUDED_URLS, OPT_IN, find_distro, set_defaults
from otel_wandb.launch import make_environment
from otel_wandb.status import read_status
from tests.deadlines import wait_for
from tests.peers.weave import WeavePeer
from tests.services.launched import PYTHON, QUICK, calls_of, end_bridge, run, run_code, run_plain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # real servers with real workers

PROJECT = "team/rag"

APP_PROVIDER = """
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    seen = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "the-apps-own"}))
    provider.add_span_processor(SimpleSpanProcessor(seen))
    def span(tracer, name):
        with tracer.start_as_current_span(name):
            pass
"""


@pytest.fixture(autouse=True)
def no_bridge_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    end_bridge(DataDir(tmp_path / "data"))


def code_of(*parts: str) -> str:
    return "".join(textwrap.dedent(part) for part in parts)


def names_in_weave(online: WeavePeer) -> set[str]:
    return {name for names in calls_of(online, PROJECT).values() for name in names}


def test_what_is_not_set_gets_defaults_and_what_is_set_stays() -> None:
    environ = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_SCHEDULE_DELAY": " "}
    set_defaults(environ)
    assert environ["OTEL_TRACES_EXPORTER"] == "otlp"
    assert (environ["OTEL_METRICS_EXPORTER"], environ["OTEL_LOGS_EXPORTER"]) == ("wandb", "weave")
    assert environ["OTEL_BSP_SCHEDULE_DELAY"] == "200"
    assert environ[OPT_IN] == "http,database,gen_ai_latest_experimental"
    assert environ[CAPTURE_CONTENT] == "SPAN_ONLY"
    excluded = re.compile(environ[EXCLUDED_URLS].replace(",", "|"))
    assert excluded.search("https://trace.wandb.ai/calls")
    assert not excluded.search("https://example.com/?next=https://trace.wandb.ai/calls")
    again = dict(environ)
    set_defaults(again)
    assert again == environ


def received(tmp_path: Path) -> dict[str, int]:
    lines = read_status(DataDir(tmp_path / "data")).ledger.lines
    return {signal: lines[signal].received for signal in ("spans", "log_records", "metric_points")}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({CAPTURE_CONTENT: "false"}, "false"),
        ({CAPTURE_CONTENT: "NO_CONTENT"}, "NO_CONTENT"),
        ({OPT_IN: "http"}, "true"),
        ({OPT_IN: "http/dup, gen_ai_latest_experimental"}, "SPAN_ONLY"),
    ],
)
def test_content_is_captured_unless_the_user_says_otherwise(given: dict[str, str], expected: str) -> None:
    environ = dict(given)
    set_defaults(environ)
    assert environ[CAPTURE_CONTENT] == expected


def test_the_distro_is_there_for_those_who_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_distro() is None
    monkeypatch.setenv("OTEL_PYTHON_DISTRO", "otel_wandb")
    assert type(find_distro()).__name__ == "WandbDistro"


def test_the_service_imports_nothing_of_wandb() -> None:
    output = run_code("import sys; print(*sys.modules)")
    imported = {name.partition(".")[0] for name in output.split()}
    assert "otel_wandb" in imported
    assert not imported & {"wandb", "weave", "httpx", "numpy", "yaml", "click"}


def test_a_provider_that_the_service_sets_later_is_joined(online: WeavePeer) -> None:
    output = run_code(
        code_of(
            """
            from opentelemetry import trace
            early = trace.get_tracer("instrumentation", "1")
            open_span = early.start_span("under way")
            """,
            APP_PROVIDER,
            """
            span(early, "before")
            trace.set_tracer_provider(provider)
            assert trace.get_tracer_provider() is provider
            open_span.end()
            span(early, "early tracer")
            span(trace.get_tracer("app"), "global tracer")
            span(provider.get_tracer("app"), "own tracer")
            assert early.id_generator is provider.id_generator
            print(sorted(s.name for s in seen.get_finished_spans()))
            """,
        )
    )
    assert output == "['early tracer', 'global tracer', 'own tracer']\n"
    with online.client(PROJECT) as client:
        services = {c._op_name: c.attributes["resource"]["service.name"] for c in client.get_calls()}
    own = "the-apps-own"
    assert {name: service for name, service in services.items() if service == own} == {
        "early tracer": own,
        "global tracer": own,
        "own tracer": own,
    }
    assert set(services) == {"under way", "before", "early tracer", "global tracer", "own tracer"}


def test_a_processor_that_comes_after_the_provider_was_joined_sees_all(online: WeavePeer) -> None:
    output = run_code(
        code_of(
            APP_PROVIDER,
            """
            ours = trace.get_tracer_provider()
            trace.set_tracer_provider(provider)
            late = InMemorySpanExporter()
            ours.add_span_processor(SimpleSpanProcessor(late))
            span(trace.get_tracer("app"), "hello")
            trace.set_tracer_provider(TracerProvider())  # a second time: OpenTelemetry refuses it
            span(trace.get_tracer("app"), "again")
            print([s.name for s in late.get_finished_spans()], [s.name for s in seen.get_finished_spans()])
            """,
        )
    )
    assert output == "['hello', 'again'] ['hello', 'again']\n"
    assert names_in_weave(online) == {"hello", "again"}


def test_a_provider_that_the_service_had_before_is_joined(online: WeavePeer) -> None:
    code = code_of(
        APP_PROVIDER,
        """
        trace.set_tracer_provider(provider)
        from opentelemetry.instrumentation.auto_instrumentation import initialize
        initialize(swallow_exceptions=False)
        assert trace.get_tracer_provider() is provider
        span(trace.get_tracer("app"), "hello")
        """,
    )
    run_plain(code)
    assert names_in_weave(online) == {"hello"}


def test_a_service_that_has_our_exporter_already_sends_each_span_once(
    online: WeavePeer, tmp_path: Path
) -> None:
    run_code(
        code_of(
            APP_PROVIDER,
            """
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from otel_wandb.ingest.sdk import WeaveSpanExporter
            provider.add_span_processor(BatchSpanProcessor(WeaveSpanExporter()))
            trace.set_tracer_provider(provider)
            span(trace.get_tracer("app"), "hello")
            """,
        )
    )
    assert len(online.accepted()) == 1
    assert read_status(DataDir(tmp_path / "data")).ledger.imbalance() == {}


def test_who_turns_tracing_off_is_obeyed(online: WeavePeer) -> None:
    run_code(
        code_of(
            """
            from opentelemetry import trace
            early = trace.get_tracer("instrumentation")
            trace.set_tracer_provider(trace.NoOpTracerProvider())
            early.start_span("hello").end()
            """
        )
    )
    assert online.accepted() == []


def test_a_provider_that_cannot_be_joined_is_told_of(online: WeavePeer) -> None:
    code = code_of(
        """
        from opentelemetry import trace
        class Foreign(trace.TracerProvider):
            def get_tracer(self, *args, **kwargs):
                return trace.NoOpTracer()
        early = trace.get_tracer("instrumentation")
        trace.set_tracer_provider(Foreign())
        early.start_span("of the instrumentation").end()
        """
    )
    done = run(PYTHON, "-c", code)
    assert done.returncode == 0
    assert "a tracer provider that cannot be joined (__main__.Foreign)" in done.stderr
    assert names_in_weave(online) == {"of the instrumentation"}


def test_instruments_go_over_to_the_services_meter_provider() -> None:
    output = run_code(
        code_of(
            """
            import json
            from opentelemetry import metrics
            from opentelemetry.metrics import Observation
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import InMemoryMetricReader
            early = metrics.get_meter("instrumentation", "1")
            assert metrics.get_meter("instrumentation", "1") is early
            made = [
                early.create_counter("counter"), early.create_up_down_counter("up_down"),
                early.create_histogram("histogram", explicit_bucket_boundaries_advisory=[1.0, 2.0]),
                early.create_gauge("gauge"),
            ]
            look = lambda options: [Observation(7)]
            early.create_observable_counter("observable_counter", [look])
            early.create_observable_up_down_counter("observable_up_down", [look])
            early.create_observable_gauge("observable_gauge", [look])
            assert early.create_counter("counter") is made[0]
            def measure():
                made[0].add(1), made[1].add(1), made[2].record(1.5), made[3].set(1)
            measure()
            reader = InMemoryMetricReader()
            provider = MeterProvider(metric_readers=[reader])
            metrics.set_meter_provider(provider)
            assert metrics.get_meter_provider() is provider
            measure()
            (resource,) = reader.get_metrics_data().resource_metrics
            (scope,) = resource.scope_metrics
            points = {m.name: m.data.data_points for m in scope.metrics}
            print(json.dumps({
                "scope": [scope.scope.name, scope.scope.version],
                "counter": [p.value for p in points["counter"]],
                "bounds": list(points["histogram"][0].explicit_bounds),
                "names": sorted(points),
            }))
            """
        )
    )
    assert json.loads(output) == {
        "scope": ["instrumentation", "1"],
        "counter": [1],
        "bounds": [1.0, 2.0],
        "names": [
            "counter",
            "gauge",
            "histogram",
            "observable_counter",
            "observable_gauge",
            "observable_up_down",
            "up_down",
        ],
    }


def test_what_the_service_exports_by_itself_is_not_exported_twice(tmp_path: Path) -> None:
    run_code(
        code_of(
            """
            from opentelemetry import metrics
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from otel_wandb.ingest.sdk_metrics import WandbMetricExporter
            reader = PeriodicExportingMetricReader(WandbMetricExporter())
            metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
            metrics.get_meter("t").create_counter("hits").add(1)
            """
        ),
        OTEL_WANDB_MODE="offline",
        OTEL_TRACES_EXPORTER="none",
    )
    assert wait_for(lambda: received(tmp_path)["metric_points"], 30) == 1


def test_all_three_signals_come_to_us(online: WeavePeer, tmp_path: Path) -> None:
    run_code(
        code_of(
            """
            from opentelemetry import _logs, metrics, trace
            metrics.get_meter("t").create_counter("hits").add(1)
            with trace.get_tracer("t").start_as_current_span("ours"):
                _logs.get_logger("t").emit(body="a record")
            """
        )
    )
    wait_for(lambda: received(tmp_path) == {"spans": 1, "log_records": 1, "metric_points": 1}, 30)


def test_loggers_go_over_to_the_services_logger_provider() -> None:
    output = run_code(
        code_of(
            """
            from opentelemetry import _logs
            from opentelemetry.sdk._logs import LoggerProvider
            from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
            early = _logs.get_logger("instrumentation")
            early.emit(_logs.LogRecord(body="before"))
            seen = InMemoryLogRecordExporter()
            provider = LoggerProvider()
            provider.add_log_record_processor(SimpleLogRecordProcessor(seen))
            _logs.set_logger_provider(provider)
            early.emit(_logs.LogRecord(body="a record"))
            early.emit(body="fields")
            print([item.log_record.body for item in seen.get_finished_logs()])
            """
        )
    )
    assert output == "['a record', 'fields']\n"


def test_the_variables_of_opentelemetry_keep_their_meaning(online: WeavePeer, tmp_path: Path) -> None:
    code = (
        "from opentelemetry import trace; print(type(trace.get_tracer_provider()).__name__);"
        "trace.get_tracer('t').start_span('hello').end()"
    )
    assert run_code(code, OTEL_SDK_DISABLED="true") == "ProxyTracerProvider\n"
    run_code(code, OTEL_TRACES_EXPORTER="none")
    run_code(code, OTEL_TRACES_SAMPLER="always_off")
    assert online.accepted() == []
    run_code(code, OTEL_RESOURCE_ATTRIBUTES="wandb.project=elsewhere")
    assert {call.project for call in online.accepted()} == {"team/elsewhere"}


def test_a_wrong_setting_is_one_sentence_and_the_service_runs(tmp_path: Path) -> None:
    environ = make_environment({**os.environ, "OTEL_WANDB_PROJET": "x"})
    done = subprocess.run(
        [PYTHON, "-c", "print('ran')"], env=environ, capture_output=True, text=True, timeout=90, check=False
    )
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert "Nothing is sent to W&B: there is no setting 'OTEL_WANDB_PROJET'" in done.stderr
    assert "Traceback" not in done.stderr


WEAVE_AND_SPAN = """
    import weave
    from opentelemetry import trace
    @weave.op
    def answer(question):
        with trace.get_tracer("t").start_as_current_span("ours"):
            return question
"""


@pytest.mark.parametrize("moment", ["after", "before"])
def test_the_services_own_weave_goes_on(online: WeavePeer, moment: str) -> None:
    own = "\nweave.init('team/own')\nanswer('why?')\n"
    if moment == "after":
        run_code(code_of(WEAVE_AND_SPAN, own))
    else:
        begin = "from opentelemetry.instrumentation.auto_instrumentation import initialize\n"
        first = "import weave\nweave.init('team/own')\n" + begin + "initialize(swallow_exceptions=False)\n"
        # With all instrumentations: weave talks to its server by an instrumented httpx.
        run_plain(code_of(first, WEAVE_AND_SPAN, "\nanswer('why?')\n"))
    assert wait_for(lambda: names_in_weave(online) == {"ours"}, 30)
    with online.client("team/own") as client:
        ops = wait_for(lambda: [str(call.op_name) for call in client.get_calls()], 30)
    assert len(ops) == 1
    assert ":answer" not in names_in_weave(online)
    assert "answer" in ops[0]


OWN_RUN = """
    import wandb
    run = wandb.init(project="own", mode="offline")
"""
SPAN_IN_OWN_RUN = """
    from opentelemetry import trace
    with trace.get_tracer("t").start_as_current_span("ours"):
        run.log({"loss": 1.0})
    assert wandb.run is run
    assert (run.step, run.summary["loss"], run.project) == (1, 1.0, "own")
    run.finish()
"""
BEGIN = {
    "run": """
    from opentelemetry.instrumentation.auto_instrumentation import initialize
    initialize(swallow_exceptions=False)
""",
    "configure": """
    import otel_wandb
    otel_wandb.configure()
""",
}


@pytest.mark.parametrize("way", BEGIN)
@pytest.mark.parametrize("moment", ["after", "before"])
def test_the_services_own_run_goes_on(online: WeavePeer, tmp_path: Path, way: str, moment: str) -> None:
    parts = [BEGIN[way], OWN_RUN] if moment == "after" else [OWN_RUN, BEGIN[way]]
    run_plain(code_of(*parts, SPAN_IN_OWN_RUN), WANDB_DIR=str(tmp_path), WANDB_SILENT="true", **QUICK)
    assert names_in_weave(online) == {"ours"}
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 1
