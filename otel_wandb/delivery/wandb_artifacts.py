"""Reads a file of an artifact of W&B, such as the samples that a reference is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final, NamedTuple, cast
from urllib.parse import urlsplit

import httpx
import msgspec

from otel_wandb.delivery.credentials import Secret, WeaveTarget
from otel_wandb.delivery.weave_http import WeaveClient
from otel_wandb.errors import ConfigError, CredentialError, DeliveryRefused, DeliveryRetryable

_MAX_FILE_BYTES: Final = 256 << 20
_PAGE_FILES: Final = 100
_ADDRESS: Final = re.compile(
    r"(?:(?P<entity>[^/:]+)/)?(?P<project>[^/:]+)/(?P<name>[^/:]+)(?::(?P<alias>.+))?"
)
_TABLE: Final = ".table.json"

# A part of the query of wandb 0.31, so that whatever answers wandb answers us.
_FILES: Final = """query ArtifactMembershipFiles(
    $entity: String!, $project: String!, $collection: String!, $alias: String!, $fileNames: [String!],
    $cursor: String, $perPage: Int = 50
) {
    project(name: $project, entityName: $entity) {
        artifactCollection(name: $collection) {
            __typename
            artifactMembership(aliasName: $alias) {
                files(names: $fileNames, after: $cursor, first: $perPage) {
                    edges { node { name: displayName url sizeBytes } }
                }
            }
        }
    }
}"""


class Address(NamedTuple):
    """Where an artifact is. An empty entity is the default one of the API key."""

    entity: str
    project: str
    name: str
    alias: str

    @classmethod
    def read(cls, text: str) -> Address:
        """What `entity/project/name:alias` says; `latest` without an alias. Raises ConfigError."""
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise ConfigError(f"{text!r} is no artifact; name it as entity/project/name:alias")
        return cls(found["entity"] or "", found["project"], found["name"], found["alias"] or "latest")

    def __str__(self) -> str:
        return f"{'/'.join(filter(None, (self.entity, self.project, self.name)))}:{self.alias}"


class Fetched(NamedTuple):
    """A file of an artifact."""

    address: Address
    name: str
    content: bytes


class _File(msgspec.Struct):
    name: str
    url: str | None = None
    size: int = msgspec.field(default=0, name="sizeBytes")


class _Edge(msgspec.Struct):
    node: _File


class ArtifactApi(WeaveClient):
    """The client, with what it takes to read artifacts."""

    def list_files(self, key: Secret, address: Address) -> list[_File]:
        """The files of the artifact. Raises ConfigError where there is no such artifact."""
        named = {"entity": address.entity, "project": address.project, "collection": address.name}
        asked = {**named, "alias": address.alias, "fileNames": None, "cursor": None, "perPage": _PAGE_FILES}
        answer = self._ask_app(key, _FILES, cast("Mapping[str, str]", asked))  # any JSON will do
        match answer:
            case {
                "project": {"artifactCollection": {"artifactMembership": {"files": {"edges": list(edges)}}}}
            }:
                return [edge.node for edge in msgspec.convert(edges, list[_Edge], strict=False)]
        raise ConfigError(f"W&B has no artifact {address}")

    def download(self, key: Secret, file: _File) -> bytes:
        """The content of the file. The key goes to W&B itself alone: other addresses are signed."""
        if file.url is None or file.size > _MAX_FILE_BYTES:
            raise DeliveryRefused(f"{file.name} is too large or has no address", status=0, answer="")
        ours = urlsplit(file.url)[:2] == urlsplit(self._base_url)[:2]
        headers = {"Authorization": key.basic_authorization()} if ours else {}
        try:
            response = self._http.get(file.url, headers=headers, follow_redirects=not ours)
        except httpx.HTTPError as error:
            raise DeliveryRetryable(f"{file.name} cannot be read: {type(error).__name__}: {error}") from None
        if response.status_code != httpx.codes.OK:
            text = f"{file.name} cannot be read: it was answered with {response.status_code}"
            raise DeliveryRefused(text, status=response.status_code, answer="")
        return response.content


def fetch_file(
    address: Address,
    target: WeaveTarget,
    *,
    file: str = "",
    timeout_s: float,
) -> Fetched:
    """A file of an artifact: the one of that name, else the only one, else the only table.

    Raises:
        CredentialError: there is no key.
        ConfigError: there is no such artifact or file.
        DeliveryError: W&B refuses, or cannot be reached. Nothing speaks against calling it again.
    """
    key = target.api_key
    if key is None:
        raise CredentialError(f"the artifact {address} cannot be read: {target.offline}")
    api = ArtifactApi(target, timeout_s=timeout_s)
    try:
        whole = address._replace(entity=address.entity or target.entity or api.default_entity(key))
        chosen = _choose(api.list_files(key, whole), file, whole)
        return Fetched(whole, PurePosixPath(chosen.name).name, api.download(key, chosen))
    finally:
        api.close()


def _choose(files: list[_File], name: str, address: Address) -> _File:
    tables = [file for file in files if file.name.endswith(_TABLE)]
    for found in ([file for file in files if file.name == name] if name else files, [] if name else tables):
        if len(found) == 1:
            return found[0]
    there = ", ".join(file.name for file in files[:20]) or "nothing"
    raise ConfigError(f"choose a file of the artifact {address} with --file; it has {there}")
