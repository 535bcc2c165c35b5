"""GraphQL by the name of the operation, not parsed: an operation that is not known here answers 400."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any, Final

from tests.peers.wandb_server.storage import EVENTS, HISTORY, OUTPUT, Refusal, Row, Storage

_SEVERITIES: Final = {"INFO", "WARN", "ERROR", None}
_PROJECT_ID: Final = "UHJvamVjdDox"
_ENTITY_ID: Final = "RW50aXR5OjE="
FEATURES: Final = {
    "CLIENT_IDS": True,
    "LARGE_FILENAMES": True,
    "ARTIFACT_TAGS": True,
    "MARK_RUN_FILES_UPLOADED": True,
    "FILESTREAM_GZIP": True,
}


class Runs:
    """The operations about runs, projects and who one is. `v` are the variables of a request."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def Viewer(self, v: Row, base: str) -> Row:
        entity = self.storage.entity
        return {
            "viewer": {
                "id": "VXNlcjox",
                "entity": entity,
                "username": entity,
                "name": entity,
                "email": f"{entity}@example.invalid",
                "admin": False,
                "flags": "{}",
                "teams": {"edges": [{"node": {"name": entity}}]},
                "apiKeys": {"edges": []},
            }
        }

    def DefaultEntity(self, v: Row, base: str) -> Row:
        entity = self.storage.entity
        return {"viewer": {"username": entity, "defaultEntity": {"name": entity}}}

    def Project(self, v: Row, base: str) -> Row:
        named = (v.get("entityName") or self.storage.entity, v["name"])
        sql = "SELECT 1 FROM projects WHERE entity=?1 AND name=?2 UNION"
        found = self.storage.row(sql + " SELECT 1 FROM runs WHERE entity=?1 AND project=?2", *named)
        return {"project": {"name": v["name"]} if found else None}

    def UpsertModel(self, v: Row, base: str) -> Row:
        entity = v.get("entityName") or v.get("entity") or self.storage.entity
        self.storage.run_sql("INSERT OR IGNORE INTO projects VALUES(?,?)", entity, v.get("name"))
        project = {"id": _PROJECT_ID, "name": v.get("name"), "entityName": entity}
        project |= {"description": None, "access": "", "views": "{}"}
        model = {"id": _PROJECT_ID, "name": v.get("name")}
        return {"upsertModel": {"project": project, "model": model, "inserted": True}}

    CreateProject = UpsertModel

    def ServerFeaturesQuery(self, v: Row, base: str) -> Row:
        features = [{"name": name, "isEnabled": on} for name, on in FEATURES.items()]
        return {"serverInfo": {"features": features}}

    def ServerInfo(self, v: Row, base: str) -> Row:
        versions = {"max_cli_version": "99.0.0", "min_cli_version": "0.0.1"}
        return {"serverInfo": {"cliVersionInfo": versions, "latestLocalVersionInfo": None}}

    def OrgFeatureFlags(self, v: Row, base: str) -> Row:
        return {"organization": {"featureFlags": []}}

    def OrganizationCoreWeaveOrganizationID(self, v: Row, base: str) -> Row:
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def XXHashDigestsEnabled(self, v: Row, base: str) -> Row:
        return {"entity": {"xxhashDigestsEnabled": False}}

    def FetchOrgEntityFromEntity(self, v: Row, base: str) -> Row:
        return {"entity": {"organization": None}}

    def UpsertBucket(self, v: Row, base: str) -> Row:
        run, inserted = self.storage.upsert(v)
        bucket = {
            "id": run["storage_id"],
            "name": run["run_id"],
            "displayName": run["display_name"],
            "description": None,
            "config": run["config"],
            "sweepName": run["sweep"],
            "project": self._project(run["entity"], run["project"]),
            "historyLineCount": self.storage.count_lines(run["key"], HISTORY),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def RunResumeStatus(self, v: Row, base: str) -> Row:
        entity = v.get("entity") or self.storage.entity
        project = v.get("project") or "uncategorized"
        run = self.storage.find_run(v["name"], entity, project)
        bucket = None if run is None else self._resume_status(run)
        return {"model": {**self._project(entity, project), "bucket": bucket}}

    def HistoryPage(self, v: Row, base: str) -> Row:
        """`maxStep` is not in the page. The service samples where there are more than `pageSize` rows."""
        run = self.storage.find_run(v["run"], v.get("entity"), v.get("project"))
        lines = [] if run is None else self.storage.history_lines(run)
        page = [line for line in lines if int(v["minStep"]) <= json.loads(line)["_step"] < int(v["maxStep"])]
        stride = -(-len(page) // max(1, int(v["pageSize"]))) or 1
        return {"project": {"run": None if run is None else {"history": page[::stride]}}}

    def RunFiles(self, v: Row, base: str) -> Row:
        run = self.storage.find_run(v["run"], v.get("entity"), v.get("project"))
        if run is None:
            return {"project": {"run": None}}
        names = json.dumps(v.get("names") or [])
        sql = "SELECT name, size FROM files WHERE run=?1 AND uploaded=1"
        sql += " AND (json_array_length(?2)=0 OR name IN (SELECT value FROM json_each(?2))) LIMIT ?3"
        found = self.storage.rows(sql, run["key"], names, v.get("limit") or 50)
        edges = [{"node": {"name": file["name"], "sizeBytes": file["size"]}} for file in found]
        return {"project": {"run": {"files": {"edges": edges}}}}

    def RunStoppedStatus(self, v: Row, base: str) -> Row:
        run = self.storage.find_run(v["runId"], v.get("entityName"), v.get("projectName"))
        return {"project": {"run": {"stopped": bool(run and run["stopped"])}}}

    def RunState(self, v: Row, base: str) -> Row:
        run = self.storage.find_run(v["run"], v.get("entity"), v.get("project"))
        return {"project": {"run": run and {"id": run["storage_id"], "state": self.storage.state_of(run)}}}

    def QueryRunInfo(self, v: Row, base: str) -> Row:
        run = self.storage.find_run(v["run"], v.get("entity"), v.get("project"))
        summary = json.dumps(self.storage.summary(run)) if run else None
        return {"project": {"run": run and {"displayName": run["display_name"], "summaryMetrics": summary}}}

    def NotifyScriptableRunAlert(self, v: Row, base: str) -> Row:
        """A title that was delivered less than `waitDuration` ago is taken, and not delivered."""
        if v.get("severity") not in _SEVERITIES:
            raise Refusal(f"invalid AlertSeverity {v.get('severity')!r}", 400)
        run, now_s, wait_ms = self._existing(v["runName"], v), time.time(), int(v.get("waitDuration") or 0)
        sql = "SELECT max(received_at) at FROM alerts WHERE run=? AND title=? AND delivered=1"
        last = self.storage.row(sql, run["key"], v["title"])
        delivered = last is None or last["at"] is None or now_s - last["at"] >= wait_ms / 1000
        severity = v.get("severity") or "INFO"
        self.storage.run_sql(
            "INSERT INTO alerts(run,run_id,entity,project,title,text,severity,wait_ms,received_at,delivered)"
            " VALUES(?,?,?,?,?,?,?,?,?,?)",
            *(run["key"], run["run_id"], run["entity"], run["project"], v["title"], v["text"]),
            *(severity, wait_ms, now_s, int(delivered)),
        )
        return {"notifyScriptableRunAlert": {"success": True}}

    def CreateRunFiles(self, v: Row, base: str) -> Row:
        run, files = self._existing(v["run"], v), []
        for name in v["files"]:
            token = secrets.token_urlsafe(16)
            self.storage.run_sql(
                "INSERT INTO files(run,name,token,created_at) VALUES(?,?,?,?)"
                " ON CONFLICT(run,name) DO UPDATE SET token=excluded.token",
                *(run["key"], name, token, time.time()),
            )
            files.append({"name": name, "uploadUrl": f"{base}/storage/run/{token}"})
        return {"createRunFiles": {"runID": run["storage_id"], "uploadHeaders": [], "files": files}}

    def MarkRunFilesUploaded(self, v: Row, base: str) -> Row:
        run = self._existing(v["run"], v)
        for name in v["files"]:
            self.storage.run_sql("UPDATE files SET announced=1 WHERE run=? AND name=?", run["key"], name)
        return {"markRunFilesUploaded": {"success": True}}

    def _existing(self, run_id: str, v: Row) -> Row:
        entity, project = v.get("entity") or v.get("entityName"), v.get("project") or v.get("projectName")
        run = self.storage.find_run(run_id, entity, project)
        if run is None:
            raise Refusal("run not found", 404)
        return run

    def _project(self, entity: str, project: str) -> Row:
        return {"id": _PROJECT_ID, "name": project, "entity": {"id": _ENTITY_ID, "name": entity}}

    def _resume_status(self, run: Row) -> Row:
        storage, key = self.storage, run["key"]

        def tail(file: str) -> str:
            last = storage.last_line(key, file)
            return json.dumps([] if last is None else [last])

        telemetry = json.loads(run["config"] or "{}").get("_wandb", {}).get("value", {}).get("t")
        return {
            "id": run["storage_id"],
            "name": run["run_id"],
            "summaryMetrics": json.dumps(storage.summary(run)),
            "displayName": run["display_name"],
            "logLineCount": storage.count_lines(key, OUTPUT),
            "historyLineCount": storage.count_lines(key, HISTORY),
            "eventsLineCount": storage.count_lines(key, EVENTS),
            "historyTail": tail(HISTORY),
            "eventsTail": tail(EVENTS),
            "config": run["config"] or "{}",
            "tags": json.loads(run["tags"] or "[]"),
            "notes": run["notes"],
            "wandbConfig": json.dumps({"t": telemetry} if telemetry else {}),
        }


def answer(handlers: tuple[object, ...], op: str, variables: Row, base: str) -> Any:
    """What the handler named like the operation answers. Raises Refusal."""
    for handler in handlers:
        method = getattr(handler, op, None) if op[:1].isalpha() else None
        if callable(method):
            return method(variables, base)
    raise Refusal(f"the W&B peer does not know the operation {op!r}", 400)
