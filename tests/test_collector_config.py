"""The Collector configurations name what the Collector has, and the deployments what `otel-wandb` has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import re2
import yaml
from click.testing import CliRunner

from otel_wandb.cli import main
from otel_wandb.settings import Settings
from tests.collector_keys import COMPONENTS, DEPRECATED, find_faults
from tests.peers.environments import CHECKOUT

CONFIGS = CHECKOUT / "collector-config"
COLLECTORS = [
    *(
        CONFIGS / f"{name}.yaml"
        for name in ("agent", "gateway", "kafka", "tail-sampling", "redaction", "replay")
    ),
    CONFIGS / "kubernetes" / "agent.yaml",
]
KINDS = ("receivers", "processors", "connectors", "exporters")
GIVEN_BY_OTHERS = {"WANDB_API_KEY"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def check(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with a configuration."""
    faults = [f"{kind} does not exist" for kind in config if kind not in (*KINDS, "extensions", "service")]
    used: dict[str, set[str]] = {kind: set() for kind in (*KINDS, "extensions")}
    used["extensions"] |= set(config["service"].get("extensions", ()))
    connected: dict[str, set[str]] = {}
    for name, pipeline in config["service"]["pipelines"].items():
        faults += [f"{name}.{part} does not exist" for part in pipeline if part not in KINDS]
        for part in ("receivers", "processors", "exporters"):
            for component in pipeline.get(part, ()):
                kind = "connectors" if component in config.get("connectors", {}) else part
                used[kind].add(component)
                connected.setdefault(component, set()).add(part)
        if pipeline.get("processors", ["memory_limiter"])[0] != "memory_limiter" and name.endswith("in"):
            faults.append(f"{name} does not begin with memory_limiter")
    for kind, named in used.items():
        defined = config.get(kind, {})
        faults += [f"{kind}.{name} is not defined" for name in named - set(defined)]
        faults += [f"{kind}.{name} is not used" for name in set(defined) - named]
        for name, settings in defined.items():
            component = (kind, name.partition("/")[0])
            if component in DEPRECATED:
                faults.append(f"{kind}.{name} is deprecated")
            elif component not in COMPONENTS:
                faults.append(f"{kind}.{name} does not exist")
            else:
                faults += find_faults(settings, COMPONENTS[component], f"{kind}.{name}")
    for name in config.get("connectors", {}):
        if connected.get(name) != {"receivers", "exporters"}:
            faults.append(f"connectors.{name} is connected on one side")
    return faults


@pytest.mark.parametrize("path", COLLECTORS, ids=lambda path: str(path.relative_to(CONFIGS)))
class TestCollectors:
    def test_it_names_what_there_is(self, path: Path) -> None:
        assert check(read(path)) == []

    def test_storage_is_an_extension_that_is_enabled(self, path: Path) -> None:
        config = read(path)
        for exporter in config["exporters"].values():
            storage = (exporter or {}).get("sending_queue", {}).get("storage")
            assert storage is None or storage in config["service"]["extensions"]

    def test_what_it_reads_of_the_environment_is_no_secret_in_the_file(self, path: Path) -> None:
        text = path.read_text()
        for token in re.findall(r"authorization: (.*)", text):
            assert token == "Bearer ${env:OTEL_WANDB_TOKEN}"
        needed = set(re.findall(r"\$\{env:([A-Z_]+)\}", text)) - {"OTEL_WANDB_TOKEN"}
        assert needed == set(), "a default is missing"

    def test_its_head_says_from_which_version_on(self, path: Path) -> None:
        head = path.read_text().partition("\n\n")[0]
        assert re.search(r"Collector 0\.1\d\d or newer", path.read_text()[: len(head) + 1200])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"exporters": {"otlp": {}}}, "exporters.otlp is deprecated"),
        ({"exporters": {"kafka": {"topic": "a"}}}, "exporters.kafka.topic does not exist"),
        ({"receivers": {"otlp": {"protocols": {"grpc": {"endpoint": 1}}}}}, "of the wrong type"),
        ({"extensions": {"health_check": {}}}, "extensions.health_check is not used"),
        ({"connectors": {"forward": {}}}, "connectors.forward is connected on one side"),
    ],
)
def test_the_check_finds_what_is_wrong(change: dict[str, Any], fault: str) -> None:
    config = read(CONFIGS / "agent.yaml")
    for kind, components in change.items():
        config[kind] = {**config.get(kind, {}), **components}
    assert any(fault in found for found in check(config)), check(config)


def test_patterns_are_regular_expressions_of_the_collector() -> None:
    redaction = read(CONFIGS / "redaction.yaml")["processors"]["redaction"]
    keys = [re2.compile(pattern) for pattern in redaction["blocked_key_patterns"]]
    values = [re2.compile(pattern) for pattern in redaction["blocked_values"]]
    assert any(pattern.search("http.request.header.authorization") for pattern in keys)
    assert not any(pattern.fullmatch("gen_ai.usage.input_tokens") for pattern in keys)
    assert any(pattern.search("mail to jane@example.com") for pattern in values)


def test_the_agent_of_the_daemonset_is_the_agent_on_all_addresses() -> None:
    one, other = read(CONFIGS / "agent.yaml"), read(CONFIGS / "kubernetes" / "agent.yaml")
    for protocol in one["receivers"]["otlp"]["protocols"].values():
        protocol["endpoint"] = protocol["endpoint"].replace("127.0.0.1", "0.0.0.0")
    assert other == one


class TestDeployments:
    def manifests(self) -> Iterator[dict[str, Any]]:
        for name in read(CONFIGS / "kubernetes" / "kustomization.yaml")["resources"]:
            yield from yaml.safe_load_all((CONFIGS / "kubernetes" / name).read_text())

    def test_manifests_are_whole(self) -> None:
        found = [(one["kind"], one["metadata"]["name"]) for one in self.manifests()]
        assert found == [
            ("Namespace", "otel-wandb"),
            ("Secret", "otel-wandb"),
            ("StatefulSet", "otel-wandb"),
            ("Service", "otel-wandb"),
            ("Service", "otel-wandb-bridges"),
            ("DaemonSet", "collector"),
        ]
        by_kind = {one["kind"]: one for one in self.manifests()}
        for workload in (by_kind["StatefulSet"], by_kind["DaemonSet"]):
            template = workload["spec"]["template"]
            assert template["metadata"]["labels"] == workload["spec"]["selector"]["matchLabels"]
            pod = template["spec"]
            claims = [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())]
            volumes = {*claims, *(volume["name"] for volume in pod["volumes"])}
            for container in pod["containers"]:
                assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert set(by_kind["Secret"]["stringData"].values()) == {""}
        keys = set(by_kind["Secret"]["stringData"])
        variables = by_kind["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]["env"]
        (token,) = [one["valueFrom"]["secretKeyRef"] for one in variables if "valueFrom" in one]
        assert token["name"] == "otel-wandb"
        assert token["key"] in keys
        mounted = by_kind["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]["env"]
        files = {one["value"].rpartition("/")[2] for one in mounted if one["name"].endswith("_FILE")}
        assert files == keys

    def test_settings_are_those_that_there_are(self) -> None:
        known = {f"OTEL_WANDB_{name.upper()}" for name in Settings.__struct_fields__}
        known |= {"OTEL_WANDB_DIR", "OTEL_WANDB_SERVE_TOKENS"}
        container = next(one for one in self.manifests() if one["kind"] == "StatefulSet")
        env = container["spec"]["template"]["spec"]["containers"][0]["env"]
        compose = read(CONFIGS / "docker-compose.yaml")["services"]["otel-wandb"]["environment"]
        given = {one["name"] for one in env} | set(compose) | {"OTEL_WANDB_DIR"}
        assert given - known == GIVEN_BY_OTHERS

    def test_commands_are_those_that_there_are(self) -> None:
        container = next(one for one in self.manifests() if one["kind"] == "StatefulSet")
        args = container["spec"]["template"]["spec"]["containers"][0]["args"]
        docker = (CONFIGS / "Dockerfile").read_text()
        (command,) = re.findall(r"^CMD (\[.*\])$", docker, re.MULTILINE)
        said = CliRunner().invoke(main, ["serve", "--help"]).output
        for words in (args, yaml.safe_load(command)):
            assert words[0] == "serve"
            assert all(word in said for word in words if word.startswith("--"))

    def test_the_compose_file_waits_and_keeps(self) -> None:
        compose = read(CONFIGS / "docker-compose.yaml")
        assert compose["services"]["collector"]["depends_on"] == {
            "otel-wandb": {"condition": "service_healthy"}
        }
        assert set(compose["volumes"]) == {"bridge", "queue"}
        assert all(port.startswith("127.0.0.1:") for port in compose["services"]["collector"]["ports"])
        for service in compose["services"].values():
            for mount in service["volumes"]:
                source = mount.partition(":")[0]
                assert source in compose["volumes"] or (CONFIGS / source).is_file()


def test_the_readme_names_every_file() -> None:
    text = (CONFIGS / "README.md").read_text()
    for path in CONFIGS.glob("*.yaml"):
        assert f"({path.name})" in text
