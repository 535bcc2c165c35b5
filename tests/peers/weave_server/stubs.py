"""Import stubs for the cloud SDKs and model clients that the wheel imports and no storage path calls.

They keep the environment small and the start fast.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from typing import Any

STUBS = [
    "boto3",
    "botocore",
    "azure",
    "google.cloud",
    "google.api_core",
    "google.auth",
    "google.oauth2",
    "confluent_kafka",
    "litellm",
    "openai",
    "ddtrace",
    "redis",
    # left out of the published wheels:
    "weave.trace_server.model_providers",
    # only pulled in by the 0.52 evaluate-model worker:
    "weave.scorers",
]


class _StubMeta(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = _StubMeta(name, (Exception,), {})
        setattr(cls, name, value)
        return value

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.__name__ == "wrap":  # @ddtrace.tracer.wrap(...)
            return lambda f: f
        if cls.__name__ in ("current_span", "current_root_span", "get_redis_client"):
            return None
        if cls.__name__ == "read_model_to_provider_info_map":
            return {}
        return type.__call__(cls)


class _StubModule(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = _StubMeta(name, (Exception,), {"__module__": self.__name__})
        setattr(self, name, value)
        return value


class _StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, names: list[str]) -> None:
        self.names = tuple(names)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if any(name == s or name.startswith(s + ".") for s in self.names):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        module = _StubModule(spec.name)
        module.__path__ = []  # type: ignore[attr-defined]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        return None


def install(real: set[str]) -> None:
    """Serve stubs for everything in `STUBS` but the modules named in `real`."""
    sys.meta_path.insert(0, _StubFinder([name for name in STUBS if name not in real]))
