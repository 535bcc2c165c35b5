"""The keys that components of the OpenTelemetry Collector have, as far as our configurations use them.

Read in the READMEs and `config.schema.yaml` files of opentelemetry-collector and
opentelemetry-collector-contrib, 0.159 (August 2026). A value is a type, a tuple of types, a list of what it
holds, a mapping of further keys, or ANY.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

ANY: Final = object
NUMBER: Final = (int, float)

Keys: TypeAlias = object
"""A type, a tuple of types, a list with one such, or a mapping of keys to such."""

TLS: Final[Mapping[str, Keys]] = {
    "insecure": bool,
    "insecure_skip_verify": bool,
    "ca_file": str,
    "cert_file": str,
    "key_file": str,
    "server_name_override": str,
}
RETRY: Final[Mapping[str, Keys]] = {
    "enabled": bool,
    "initial_interval": str,
    "max_interval": str,
    "max_elapsed_time": str,
    "multiplier": NUMBER,
    "randomization_factor": NUMBER,
}
QUEUE: Final[Mapping[str, Keys]] = {
    "enabled": bool,
    "num_consumers": int,
    "queue_size": int,
    "sizer": str,
    "wait_for_result": bool,
    "block_on_overflow": bool,
    "storage": str,
    "batch": {"flush_timeout": str, "min_size": int, "max_size": int, "sizer": str, "partition": ANY},
}
OTLP_GRPC: Final[Mapping[str, Keys]] = {
    "endpoint": str,
    "compression": str,
    "timeout": str,
    "headers": ANY,
    "tls": TLS,
    "auth": {"authenticator": str},
    "balancer_name": str,
    "keepalive": ANY,
    "wait_for_ready": bool,
    "retry_on_failure": RETRY,
    "sending_queue": QUEUE,
}
KAFKA: Final[Mapping[str, Keys]] = {
    "brokers": [str],
    "client_id": str,
    "auth": ANY,
    "tls": TLS,
    "metadata": ANY,
    "protocol_version": str,
}
TOPICS: Final[Mapping[str, Keys]] = {"topics": [str], "encoding": str, "exclude_topics": [str]}
TOPIC: Final[Mapping[str, Keys]] = {
    "topic": str,
    "encoding": str,
    "topic_from_metadata_key": str,
    "message_key_from_metadata_key": str,
}
FILE: Final[Mapping[str, Keys]] = {
    "path": str,
    "format": str,
    "encoding": str,
    "append": bool,
    "compression": str,
    "flush_interval": str,
    "create_directory": bool,
    "rotation": {"max_megabytes": int, "max_days": int, "max_backups": int, "localtime": bool},
    "group_by": ANY,
}
_DIMENSIONS: Final = [{"name": str, "default": str, "glob": str}]
_POLICY: Final[Mapping[str, Keys]] = {
    "name": str,
    "type": str,
    "status_code": {"status_codes": [str]},
    "latency": {"threshold_ms": int, "upper_threshold_ms": int},
    "probabilistic": {"sampling_percentage": NUMBER, "hash_salt": str},
    "string_attribute": {
        "key": str,
        "values": [str],
        "enabled_regex_matching": bool,
        "cache_max_size": int,
        "invert_match": bool,
    },
}

COMPONENTS: Final[Mapping[tuple[str, str], Keys]] = {
    ("receivers", "otlp"): {
        "protocols": {
            "grpc": {
                "endpoint": str,
                "max_recv_msg_size_mib": int,
                "max_concurrent_streams": int,
                "tls": TLS,
                "include_metadata": bool,
            },
            "http": {
                "endpoint": str,
                "max_request_body_size": int,
                "compression_algorithms": [str],
                "tls": TLS,
                "include_metadata": bool,
            },
        }
    },
    ("receivers", "kafka"): {
        **KAFKA,
        "traces": TOPICS,
        "metrics": TOPICS,
        "logs": TOPICS,
        "group_id": str,
        "initial_offset": str,
        "session_timeout": str,
        "message_marking": {"after": bool, "on_error": bool, "on_permanent_error": bool},
        "autocommit": {"enable": bool, "interval": str},
        "error_backoff": RETRY,
    },
    ("processors", "memory_limiter"): {
        "check_interval": str,
        "limit_mib": int,
        "spike_limit_mib": int,
        "limit_percentage": int,
        "spike_limit_percentage": int,
    },
    ("processors", "tail_sampling"): {
        "decision_wait": str,
        "num_traces": int,
        "expected_new_traces_per_sec": int,
        "decision_cache": {"sampled_cache_size": int, "non_sampled_cache_size": int},
        "policies": [_POLICY],
        "sample_on_first_match": bool,
    },
    ("processors", "redaction"): {
        "allow_all_keys": bool,
        "allowed_keys": [str],
        "ignored_keys": [str],
        "blocked_key_patterns": [str],
        "blocked_values": [str],
        "allowed_values": [str],
        "redact_all_types": bool,
        "hash_function": str,
        "summary": str,
    },
    ("processors", "transform"): {
        "error_mode": str,
        "trace_statements": [str],
        "metric_statements": [str],
        "log_statements": [str],
    },
    ("connectors", "forward"): {},
    ("connectors", "span_metrics"): {
        "namespace": str,
        "histogram": {
            "unit": str,
            "disable": bool,
            "explicit": {"buckets": [str]},
            "exponential": {"max_size": int},
            "dimensions": _DIMENSIONS,
        },
        "dimensions": _DIMENSIONS,
        "exclude_dimensions": [str],
        "aggregation_temporality": str,
        "aggregation_cardinality_limit": int,
        "metrics_flush_interval": str,
        "metrics_expiration": str,
        "exemplars": {"enabled": bool, "max_per_data_point": int},
    },
    ("exporters", "otlp_grpc"): OTLP_GRPC,
    ("exporters", "load_balancing"): {
        "routing_key": str,
        "routing_attributes": [str],
        "protocol": {"otlp": {name: keys for name, keys in OTLP_GRPC.items() if name != "endpoint"}},
        "resolver": {
            "static": {"hostnames": [str]},
            "dns": {"hostname": str, "port": (str, int), "interval": str, "timeout": str},
            "k8s": {"service": str, "ports": [int], "timeout": str, "return_hostnames": bool},
        },
        "timeout": str,
        "retry_on_failure": RETRY,
        "sending_queue": QUEUE,
    },
    ("exporters", "kafka"): {
        **KAFKA,
        "traces": TOPIC,
        "metrics": TOPIC,
        "logs": TOPIC,
        "partition_traces_by_id": bool,
        "partition_metrics_by_resource_attributes": bool,
        "partition_logs_by_resource_attributes": bool,
        "partition_logs_by_trace_id": bool,
        "producer": {
            "max_message_bytes": int,
            "required_acks": (int, str),
            "compression": str,
            "linger": str,
            "flush_max_messages": int,
            "allow_auto_topic_creation": bool,
        },
        "timeout": str,
        "retry_on_failure": RETRY,
        "sending_queue": QUEUE,
    },
    ("exporters", "file"): FILE,
    ("extensions", "file_storage"): {
        "directory": str,
        "create_directory": bool,
        "timeout": str,
        "fsync": bool,
        "compaction": {"on_start": bool, "on_rebound": bool, "directory": str, "cleanup_on_start": bool},
    },
    ("extensions", "health_check"): {"endpoint": str, "path": str, "tls": TLS},
}

DEPRECATED: Final = frozenset(
    {
        ("exporters", "otlp"),
        ("exporters", "otlphttp"),
        ("exporters", "loadbalancing"),
        ("exporters", "logging"),
        ("connectors", "spanmetrics"),
        ("processors", "batch"),
        ("processors", "cumulativetodelta"),
    }
)


def find_faults(value: object, keys: Keys, path: str = "") -> list[str]:
    """What of a component's settings no such component has, as sentences."""
    if keys is ANY or value is None:
        return []
    if isinstance(keys, Mapping):
        if not isinstance(value, Mapping):
            return [f"{path} must be a mapping, not {value!r}"]
        unknown = [f"{path}.{name} does not exist" for name in value if name not in keys]
        known = [(name, held) for name, held in value.items() if name in keys]
        return [
            *unknown,
            *(f for name, held in known for f in find_faults(held, keys[name], f"{path}.{name}")),
        ]
    if isinstance(keys, list):
        if not isinstance(value, list):
            return [f"{path} must be a list, not {value!r}"]
        return [f for i, held in enumerate(value) for f in find_faults(held, keys[0], f"{path}[{i}]")]
    assert isinstance(keys, type | tuple)
    given = bool if isinstance(value, bool) else type(value)
    fine = given in (keys if isinstance(keys, tuple) else (keys,))
    return [] if fine else [f"{path} is {value!r}, of the wrong type"]
