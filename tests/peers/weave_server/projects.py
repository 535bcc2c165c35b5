"""A stand-in for the W&B app that the trace server leans on: which projects exist, and whose they are.

Not code of the wheel. By default every project exists. Under `strict` a project exists once it was created
over GraphQL, and the entities in `denied` may neither be written to nor given projects.
"""

from __future__ import annotations

import re
from typing import Any


class Projects:
    def __init__(self, user: str, entity: str | None) -> None:
        self.user, self.entity = user, entity
        self.reset()

    def reset(self) -> None:
        self.strict, self.denied, self.viewer_entity = False, set[str](), self.entity
        self.made = set[str]()

    def configure(self, wanted: dict[str, Any]) -> None:
        self.strict = bool(wanted.get("strict", self.strict))
        self.denied = set(wanted.get("denied", self.denied))
        self.viewer_entity = wanted.get("viewer_entity", self.viewer_entity)

    def problem(self, project_id: str) -> tuple[int, str] | None:
        if project_id.partition("/")[0] in self.denied:
            return 403, f"no access to {project_id}"
        if self.strict and project_id not in self.made:
            return 404, f"project {project_id} not found"
        return None

    def answer(self, query: str, v: dict[str, Any]) -> dict[str, Any]:
        """What the W&B app's GraphQL says to the queries of `weave.init`."""
        data: dict[str, Any] = {}
        entity = str(v.get("entityName") or v.get("entity") or "")
        project_id = f"{entity}/{v.get('name')}"
        if entity in self.denied:
            error = {"message": "permission denied", "extensions": {"code": "PERMISSION_ERROR"}}
            return {"data": None, "errors": [error]}
        if "viewer" in query:
            default = {"name": self.viewer_entity} if self.viewer_entity else None
            data["viewer"] = {"username": self.user, "defaultEntity": default}
        if "upsertModel" in query:
            self.made.add(project_id)
            data["upsertModel"] = {"model": {"name": v.get("name"), "description": v.get("description")}}
        elif re.search(r"\bproject\(", query):
            known = not self.strict or project_id in self.made
            data["project"] = {"name": v.get("name")} if known else None
        return {"data": data}
