"""GraphQL about artifacts (each `wandb.Table` is one, too), and about saved workspaces and reports."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import Final

from tests.peers.wandb_server.storage import Refusal, Row, Storage

_PROJECT_ID: Final = "UHJvamVjdDox"
_INTERNAL_ID: Final = "UHJvamVjdEludGVybmFsSWQ6MQ=="


def _make_id(kind: str) -> str:
    return base64.b64encode(f"{kind}:{secrets.randbits(40)}".encode()).decode()


class Artifacts:
    """The operations about artifacts. `v` are the variables of a request."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def FetchArtifactDigestAlgorithm(self, v: Row, base: str) -> Row:
        return {"project": {"artifactType": None}}

    def CreateArtifact(self, v: Row, base: str) -> Row:
        given = v["input"]
        name = given.get("artifactCollectionName") or (given.get("artifactCollectionNames") or ["?"])[0]
        place = (given.get("entityName") or self.storage.entity, given.get("projectName") or "uncategorized")
        with self.storage.lock:
            latest = self.storage.row(
                "SELECT * FROM artifacts WHERE entity=? AND project=? AND name=? AND type=?"
                " AND state='COMMITTED' ORDER BY version DESC LIMIT 1",
                *(*place, name, given.get("artifactTypeName")),
            )
            same = latest and given.get("enableDigestDeduplication") and latest["digest"] == given["digest"]
            made = latest if latest and same else self._insert(given, place, name, latest)
            sql = "INSERT OR IGNORE INTO client_ids(client_id, artifact) VALUES(?,?)"
            self.storage.run_sql(sql, given.get("clientID"), made["id"])
        latest_id = {"id": latest["id"]} if latest else None
        artifact = {
            "id": made["id"],
            "state": made["state"],
            "artifactSequence": {"latestArtifact": latest_id},
        }
        return {"createArtifact": {"artifact": artifact}}

    def _insert(self, given: Row, place: tuple[str, str], name: str, latest: Row | None) -> Row:
        made = _make_id("Artifact")
        aliases = json.dumps([alias.get("alias") for alias in given.get("aliases") or []])
        version = latest["version"] + 1 if latest else 0
        self.storage.run_sql(
            "INSERT INTO artifacts(id,run_id,entity,project,type,name,client_id,sequence_client_id,digest,"
            "state,version,aliases,metadata,description,created_at) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            *(made, given.get("runName"), *place, given.get("artifactTypeName"), name),
            *(given.get("clientID"), given.get("sequenceClientID"), given.get("digest"), "PENDING", version),
            *(aliases, given.get("metadata"), given.get("description"), time.time()),
        )
        return {"id": made, "state": "PENDING"}

    def _upload_url(self, base: str, artifact: object, kind: str, name: object, **extra: object) -> str:
        token = secrets.token_urlsafe(16)
        self.storage.run_sql(
            "INSERT INTO artifact_files(token,artifact,kind,name,md5,manifest_id,manifest_type)"
            " VALUES(?,?,?,?,?,?,?)",
            *(token, artifact, kind, name),
            *(extra.get("md5"), extra.get("manifest_id"), extra.get("manifest_type")),
        )
        return f"{base}/storage/artifact/{token}"

    def _manifest(
        self, v: Row, base: str, manifest_id: str, artifact: object, name: object, kind: object
    ) -> Row:
        manifest: Row = {"id": manifest_id, "file": {"id": manifest_id}}
        if v.get("includeUpload"):
            extra = {"md5": v.get("digest"), "manifest_id": manifest_id, "manifest_type": kind}
            url = self._upload_url(base, artifact, "manifest", name, **extra)
            manifest["file"] |= {"uploadUrl": url, "uploadHeaders": []}
        return manifest

    def CreateArtifactManifest(self, v: Row, base: str) -> Row:
        made, kind = _make_id(f"ArtifactManifest:{v['artifactID']}"), v.get("manifestType")
        if not v.get("includeUpload"):  # remembered, so that UpdateArtifactManifest can find its artifact
            extra = {"manifest_id": made, "manifest_type": kind}
            self._upload_url(base, v["artifactID"], "manifest-stub", v["name"], **extra)
        manifest = self._manifest(v, base, made, v["artifactID"], v["name"], kind)
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def UpdateArtifactManifest(self, v: Row, base: str) -> Row:
        sql = "SELECT * FROM artifact_files WHERE manifest_id=? LIMIT 1"
        known = self.storage.row(sql, v["artifactManifestID"]) or {}
        named = (known.get("artifact"), known.get("name"), known.get("manifest_type"))
        manifest = self._manifest(v, base, v["artifactManifestID"], *named)
        return {"updateArtifactManifest": {"artifactManifest": manifest}}

    def CreateArtifactFiles(self, v: Row, base: str) -> Row:
        edges = []
        for spec in (v.get("input") or v).get("artifactFiles") or []:
            url = self._upload_url(base, spec["artifactID"], "file", spec["name"], md5=spec.get("md5"))
            node: Row = {"storagePath": f"peer/{spec.get('md5')}", "uploadUrl": url, "uploadHeaders": []}
            node |= {"uploadMultipartUrls": None, "artifact": {"id": spec["artifactID"]}}
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def CommitArtifact(self, v: Row, base: str) -> Row:
        self.storage.run_sql("UPDATE artifacts SET state='COMMITTED' WHERE id=?", v["artifactID"])
        found = self.storage.row("SELECT digest FROM artifacts WHERE id=?", v["artifactID"])
        artifact = {"id": v["artifactID"], "digest": found["digest"] if found else ""}
        return {"commitArtifact": {"artifact": artifact}}

    def ArtifactMembershipFiles(self, v: Row, base: str) -> Row:
        """The files of the version that an alias names: `latest`, `v0`, or one that it was given."""
        found = self.storage.rows(
            "SELECT * FROM artifacts WHERE entity=? AND project=? AND name=? AND state='COMMITTED'"
            " ORDER BY version DESC",
            *(v.get("entity"), v.get("project"), v.get("collection")),
        )
        alias = v["alias"]
        named = [one for one in found if alias in (f"v{one['version']}", *json.loads(one["aliases"] or "[]"))]
        chosen = named or (found if alias == "latest" else [])
        if not chosen:
            none: Row = {"__typename": "ArtifactSequence", "artifactMembership": None}
            return {"project": {"artifactCollection": none if found else None}}
        sql = "SELECT * FROM artifact_files WHERE artifact=? AND kind='file' AND uploaded=1 ORDER BY name"
        files = self.storage.rows(sql, chosen[0]["id"])
        nodes = [
            {"name": f["name"], "url": f"{base}/storage/artifact/{f['token']}", "sizeBytes": f["size"]}
            for f in files
        ]
        membership = {"files": {"edges": [{"node": node} for node in nodes]}}
        collection = {"__typename": "ArtifactSequence", "artifactMembership": membership}
        return {"project": {"artifactCollection": collection}}

    def UseArtifact(self, v: Row, base: str) -> Row:
        given = v["input"]
        sql = "INSERT OR IGNORE INTO artifact_uses(run, artifact) VALUES(?,?)"
        self.storage.run_sql(sql, given.get("runName"), given["artifactID"])
        return {"useArtifact": {"artifact": {"id": given["artifactID"]}}}

    def ClientIDMapping(self, v: Row, base: str) -> Row:
        sql = "SELECT artifact FROM client_ids WHERE client_id=?"
        found = self.storage.row(sql, v["clientID"])
        return {"clientIDMapping": {"serverID": found["artifact"]} if found else None}

    def ArtifactType(self, v: Row, base: str) -> Row:
        sql = "SELECT type FROM artifacts WHERE name=? AND project=? LIMIT 1"
        found = self.storage.row(sql, v["name"].split(":")[0], v.get("project"))
        return {"project": {"artifact": {"artifactType": {"name": found["type"]}} if found else None}}

    def ArtifactByID(self, v: Row, base: str) -> Row:
        found = self.storage.row("SELECT * FROM artifacts WHERE id=?", v["id"])
        if found is None:
            return {"artifact": None}
        sql = "SELECT size FROM artifact_files WHERE artifact=? AND kind='file' AND uploaded=1"
        files = self.storage.rows(sql, found["id"])
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found["created_at"]))
        home = {"id": _PROJECT_ID, "internalId": _INTERNAL_ID, "name": found["project"]}
        collection = {
            "__typename": "ArtifactSequence",
            "name": found["name"],
            "project": home | {"entity": {"name": found["entity"]}},
        }
        aliases = [
            {"__typename": "ArtifactAlias", "id": f"QQ{n}", "alias": alias, "artifactCollection": collection}
            for n, alias in enumerate(json.loads(found["aliases"] or "[]"))
        ]
        return {
            "artifact": {
                "__typename": "Artifact",
                "id": found["id"],
                "versionIndex": found["version"],
                "artifactSequence": collection,
                "artifactType": {"name": found["type"]},
                "description": found["description"],
                "metadata": found["metadata"],
                "ttlDurationSeconds": -2,
                "ttlIsInherited": True,
                "tags": [],
                "historyStep": None,
                "state": found["state"],
                "size": sum(file["size"] or 0 for file in files),
                "digest": found["digest"],
                "digestAlgorithm": "MANIFEST_MD5",
                "commitHash": "",
                "fileCount": len(files),
                "createdAt": when,
                "updatedAt": when,
                "aliases": aliases,
            }
        }

    def ArtifactManifest(self, v: Row, base: str) -> Row:
        found = self.storage.row(
            "SELECT token FROM artifact_files WHERE artifact=? AND kind='manifest' AND uploaded=1"
            " ORDER BY rowid DESC LIMIT 1",
            v["artifact_id"],
        )
        file = {"file": {"directUrl": f"{base}/storage/artifact/{found['token']}"}} if found else None
        return {"artifact": {"currentManifest": file}}


class Views:
    """What the package wandb-workspaces saves: workspaces and reports."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def ProjectInternalId(self, v: Row, base: str) -> Row:
        return {"project": {"id": _PROJECT_ID, "internalId": _INTERNAL_ID}}

    def GetProjects(self, v: Row, base: str) -> Row:
        entity = v.get("entity") or self.storage.entity
        names = self.storage.rows("SELECT DISTINCT project FROM runs WHERE entity=?", entity)
        edges = []
        for number, row in enumerate(names):
            node = {"__typename": "Project", "id": f"UHJvamVjdDo{number}", "name": row["project"]}
            node |= {"entityName": entity, "isBenchmark": False, "user": None}
            edges.append({"node": node | {"createdAt": "2026-01-01T00:00:00Z"}})
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": page, "edges": edges}}

    def View(self, v: Row, base: str) -> Row:
        """The views of a project by kind and name, the youngest first."""
        place = (str(v.get("entityName") or self.storage.entity), str(v.get("name")))
        if not self._has_project(*place):
            return {"project": None}
        found = self.storage.rows(
            "SELECT * FROM views WHERE entity=? AND project=? AND type=ifnull(?,'runs')"
            " AND name=ifnull(?,name) ORDER BY updated_at DESC",
            *(*place, v.get("viewType"), v.get("viewName")),
        )
        nodes = [
            {"id": view["id"], "displayName": view["display_name"], "spec": view["spec"]} for view in found
        ]
        return {"project": {"allViews": {"edges": [{"node": node} for node in nodes]}}}

    def _has_project(self, entity: str, project: str) -> bool:
        sql = "SELECT 1 FROM projects WHERE entity=?1 AND name=?2 UNION"
        return bool(
            self.storage.row(sql + " SELECT 1 FROM runs WHERE entity=?1 AND project=?2", entity, project)
        )

    def UpsertView2(self, v: Row, base: str) -> Row:
        if not self._has_project(v.get("entityName") or self.storage.entity, v.get("projectName") or ""):
            raise Refusal(f"project {v.get('entityName')}/{v.get('projectName')} not found", 404)
        old = self.storage.row("SELECT * FROM views WHERE id=?", v["id"]) if v.get("id") else None
        view_id = old["id"] if old else _make_id("View")
        given = {
            "entity": v.get("entityName"),
            "project": v.get("projectName"),
            "type": v.get("type"),
            "name": v.get("name") or (None if old else secrets.token_hex(6)),
            "display_name": v.get("displayName"),
            "spec": v.get("spec"),
        }
        # An update may leave fields out; what it leaves out stays.
        kept = {name: value if value is not None else (old or {}).get(name) for name, value in given.items()}
        self.storage.run_sql(
            "INSERT OR REPLACE INTO views(id,entity,project,type,name,display_name,spec,updated_at)"
            " VALUES(?,?,?,?,?,?,?,?)",
            *(view_id, *kept.values(), time.time()),
        )
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        user = self.storage.entity
        view: Row = {
            "id": view_id,
            "name": kept["name"],
            "displayName": kept["display_name"],
            "type": kept["type"],
            "description": v.get("description"),
            "spec": kept["spec"],
            "createdAt": now,
            "updatedAt": now,
            "project": {"id": _PROJECT_ID, "name": kept["project"], "entityName": kept["entity"]},
            "entityName": kept["entity"],
            "user": {"id": "VXNlcjox", "name": user, "username": user},
            "children": {"edges": []},
        }
        return {"upsertView": {"view": view, "inserted": not old}}

    upsertView = UpsertView2
