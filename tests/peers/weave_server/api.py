"""From an HTTP request to the wheel's trace server and back: parsing, projects, errors, GraphQL stand-in."""

from __future__ import annotations

import argparse
import collections
import json
import re
import zlib
from typing import Any

from .backends import make_external
from .projects import Projects
from .routes import FILE_CONTENT, FILE_CREATE, OTLP_PATHS, ROUTES


class HttpError(Exception):
    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None):
        self.status, self.body, self.headers = status, body, headers or {}


class Api:
    """The wheel's trace server by path: one request in, status, headers and body out."""

    def __init__(self, args: argparse.Namespace, backend: str, internal: Any) -> None:
        self.args, self.backend, self.internal = args, backend, internal
        self.server = make_external(self.internal)
        self.stats: collections.Counter[str] = collections.Counter()
        self.projects = Projects(args.user, args.entity)
        from weave.trace_server import errors as wheel_errors
        from weave.trace_server import trace_server_interface as tsi
        from weave.trace_server.fake_service import FakeService
        from weave.trace_server.service_interface import ProjectsInfoReq

        try:
            from weave.shared.agents import types as agent_types
        except ImportError:
            from weave.trace_server.agents import types as agent_types
        self.tsi, self.wheel_errors, self.agent_types = tsi, wheel_errors, agent_types
        self.service, self.projects_info_req = FakeService(), ProjectsInfoReq
        self.routes = []
        for method, template, name, model, flags in ROUTES:
            cls = getattr(tsi, model, None) or getattr(agent_types, model, None)
            if cls is None or not hasattr(self.internal, name):
                continue
            pattern = re.compile("^" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template) + "$")
            self.routes.append((method, template, pattern, name, cls, flags))
        self.exact = {(m, t): (n, c, f) for m, t, _, n, c, f in self.routes if "{" not in t}

    def guarded(self, *call: Any) -> tuple[int, dict[str, str], Any]:
        from pydantic import ValidationError

        try:
            return self.dispatch(*call)
        except HttpError as e:
            return e.status, {"content-type": "application/json", **e.headers}, dump(e.body)
        except ValidationError as e:
            detail = json.loads(e.json(include_url=False, include_context=False, include_input=False))
            return 422, {"content-type": "application/json"}, dump({"detail": detail})
        except json.JSONDecodeError as e:
            return (
                422,
                {"content-type": "application/json"},
                dump({"detail": [{"type": "json_invalid", "loc": ["body", e.pos], "msg": str(e)}]}),
            )
        except NotImplementedError as e:
            return 501, {"content-type": "application/json"}, dump({"reason": str(e) or "Not implemented"})
        except Exception as e:  # the wheel's own error -> status table
            got = self.wheel_errors.handle_server_exception(e)
            if got.status_code >= 500 and self.args.verbose:
                import traceback

                traceback.print_exc()
            return got.status_code, {"content-type": "application/json"}, dump(got.message)

    def dispatch(
        self, method: str, path: str, query: str, headers: dict[str, str], body: bytes, user: str
    ) -> tuple[int, dict[str, str], Any]:
        if path == "/server_info":
            return self._json(self.service.server_info())
        if path == "/graphql":
            return self._graphql(json.loads(body))
        if path == "/service/projects_info":
            return self._json(self.service.projects_info(self.projects_info_req.model_validate_json(body)))
        if method == "POST" and path in OTLP_PATHS:
            return self._otlp(OTLP_PATHS[path], headers, self._decoded(headers, body), user)
        if method == "POST" and path in FILE_CREATE:
            project, name, content = _multipart(headers.get("content-type", ""), body)
            req = self.tsi.FileCreateReq(project_id=project, name=name, content=content)
            return self._json(self.server.file_create(req))
        if method == "POST" and path in FILE_CONTENT:
            req = self.tsi.FileContentReadReq.model_validate_json(body)
            res = self.server.file_content_read(req)
            return 200, {"content-type": "application/octet-stream"}, res.content
        params: dict[str, str] = {}
        hit = self.exact.get((method, path))
        if hit is None:
            for m, _, pattern, name, cls, flags in self.routes:
                found = pattern.match(path) if m == method else None
                if found:
                    hit, params = (name, cls, flags), found.groupdict()
                    break
        if hit is None:
            raise HttpError(404, {"detail": "Not Found"})
        name, cls, flags = hit
        body = self._decoded(headers, body)
        if not params and not query:
            req = self._parse(cls, body, lenient="w" not in flags)
        else:
            from urllib.parse import parse_qs, unquote

            data: dict[str, Any] = {}
            fields = cls.model_fields
            for key, values in parse_qs(query).items():
                key = key.removesuffix("[]")
                many = key in fields and "list" in str(fields[key].annotation)
                data[key] = values if many else values[-1]
            if body:
                data.update(json.loads(body))
            params = {k: unquote(v) for k, v in params.items()}
            if "entity" in params:
                project_id = f"{params.pop('entity')}/{params.pop('project')}"
                self._check_access(project_id)
                if "project_id" in fields:
                    data["project_id"] = project_id
                self._check_v2_project(name, data, project_id)
            data.update(params)
            req = cls.model_validate_json(json.dumps(data))
        if getattr(req, "project_id", None):
            self._check_access(req.project_id)
        _set_user(req, user)
        out = getattr(self.server, name)(req)
        if "s" in flags:
            lines = b"".join(dump(item) + b"\n" for item in out)
            return 200, {"content-type": "application/jsonl"}, lines
        return self._json(out)

    def _check_access(self, project_id: str) -> None:
        problem = self.projects.problem(project_id)
        if problem:
            raise HttpError(problem[0], {"reason": problem[1]})

    def _parse(self, cls: Any, body: bytes, lenient: bool) -> Any:
        """Validate; for reads, drop top-level fields newer than the wheel (counted)."""
        from pydantic import ValidationError

        try:
            return cls.model_validate_json(body)
        except ValidationError as e:
            extra = [x["loc"][0] for x in e.errors() if x["type"] == "extra_forbidden" and len(x["loc"]) == 1]
            if not lenient or not extra or self.args.strict:
                raise
            data = json.loads(body)
            for key in extra:
                data.pop(key, None)
                self.stats[f"dropped field {cls.__name__}.{key}"] += 1
            return cls.model_validate_json(json.dumps(data))

    @staticmethod
    def _check_v2_project(name: str, data: dict, project_id: str) -> None:
        """The route's project is the authority: fill it in, refuse another one."""
        parts = data.get("batch") if name == "calls_complete" else [data.get("start") or data.get("end")]
        if name not in ("calls_complete", "call_start_v2", "call_end_v2"):
            return
        for part in parts or []:
            if isinstance(part, dict) and part.setdefault("project_id", project_id) != project_id:
                raise HttpError(400, {"reason": "project_id does not match the request path"})

    def _json(self, out: Any) -> tuple[int, dict[str, str], bytes]:
        return 200, {"content-type": "application/json"}, dump(out)

    def _decoded(self, headers: dict[str, str], body: bytes) -> bytes:
        encoding = headers.get("content-encoding", "").lower()
        limit = self.args.max_body
        try:
            if encoding == "gzip":
                d = zlib.decompressobj(31)
            elif encoding == "deflate":
                d = zlib.decompressobj()
            elif encoding in ("", "identity"):
                return body
            else:
                raise HttpError(415, {"reason": f"Unsupported content encoding {encoding}"})
            out = d.decompress(body, limit + 1)
        except zlib.error as e:
            raise HttpError(400, {"reason": f"Bad {encoding} body: {e}"}) from e
        if len(out) > limit:
            raise HttpError(413, {"reason": "Request too large"})
        return out

    def _otlp(self, method: str, headers: dict[str, str], body: bytes, user: str) -> Any:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTracePartialSuccess,
            ExportTraceServiceRequest,
            ExportTraceServiceResponse,
        )

        ctype = headers.get("content-type", "").split(";")[0].strip().lower()
        if ctype not in ("application/x-protobuf", "application/protobuf"):
            raise HttpError(415, {"reason": "OTLP ingestion takes application/x-protobuf only"})
        if not hasattr(self.internal, method) or (method == "genai_otel_export" and self.backend == "sqlite"):
            raise HttpError(404, {"detail": "Not Found"})
        msg = ExportTraceServiceRequest()
        try:
            msg.ParseFromString(body)
        except DecodeError as e:
            raise HttpError(400, {"reason": f"Invalid OTLP protobuf: {e}"}) from e
        header_project = headers.get("project_id", "")
        groups: dict[str, list[Any]] = {}
        rejected, errors = 0, []
        for rs in msg.resource_spans:
            attrs = {kv.key: kv.value.string_value for kv in rs.resource.attributes}
            entity, project = attrs.get("wandb.entity"), attrs.get("wandb.project")
            if not (entity and project):
                entity, _, project = header_project.partition("/")
            if not (entity and project):
                rejected += sum(len(ss.spans) for ss in rs.scope_spans)
                errors.append("no wandb.entity/wandb.project resource attributes and no project_id header")
                continue
            run = attrs.get("wandb.wb_run_id") or None
            if run and "/" not in run:
                run = f"{entity}/{project}/{run}"
            groups.setdefault(f"{entity}/{project}", []).append(
                self.tsi.ProcessedResourceSpans(entity=entity, project=project, run_id=run, resource_spans=rs)
            )
        if rejected and not groups:
            raise HttpError(400, {"reason": errors[0]})
        for project_id, spans in groups.items():
            if method == "otel_export":
                cls = getattr(self.tsi, "OTelExportReq", None) or self.tsi.OtelExportReq
                res = self.server.otel_export(
                    cls(processed_spans=spans, project_id=project_id, wb_user_id=user)
                )
                part = res.partial_success
            else:
                req = self.agent_types.GenAIOTelExportReq(
                    processed_spans=spans,
                    project_id=project_id,
                    wb_user_id=user,
                    entity_name=project_id.split("/")[0],
                )
                export = getattr(type(self.server), method, None)
                if export is not None:
                    part = export(self.server, req)
                else:
                    req.project_id = self.server._idc.ext_to_int_project_id(project_id)
                    req.wb_user_id = self.server._idc.ext_to_int_user_id(user)
                    part = getattr(self.internal, method)(req)
            if part is not None and part.rejected_spans:
                rejected += part.rejected_spans
                errors.append(part.error_message)
        out = ExportTraceServiceResponse()
        if rejected:
            out.partial_success.CopyFrom(
                ExportTracePartialSuccess(
                    rejected_spans=rejected, error_message="; ".join(filter(None, errors))
                )
            )
        return 200, {"content-type": "application/x-protobuf"}, out.SerializeToString()

    def _graphql(self, req: dict[str, Any]) -> Any:
        query, variables = req.get("query", ""), req.get("variables") or {}
        answer = self.projects.answer(query, variables)
        if "serverInfo" in query:
            answer["data"]["serverInfo"] = {"frontendHost": f"http://{self.args.host}:{self.args.port}"}
        return self._json(answer)

    def is_write(self, method: str, path: str) -> bool:
        if path in OTLP_PATHS or path in FILE_CREATE:
            return True
        hit = self.exact.get((method, path))
        if hit is None:
            hit = next(((n, c, f) for m, _, p, n, c, f in self.routes if m == method and p.match(path)), None)
        return bool(hit and "w" in hit[2])


def _set_user(req: Any, user: str) -> None:
    """The service takes the user from the credentials, never from the body."""
    for part in (req, getattr(req, "start", None), getattr(req, "obj", None)):
        if part is not None and "wb_user_id" in getattr(type(part), "model_fields", ()):
            part.wb_user_id = user
    for item in getattr(req, "batch", None) or []:
        inner = getattr(item, "req", item)
        _set_user(inner, user)


def dump(out: Any) -> bytes:
    if hasattr(out, "model_dump_json"):
        return out.model_dump_json(by_alias=True).encode()
    if isinstance(out, list):
        return b"[" + b",".join(dump(x) for x in out) + b"]"
    return json.dumps(out, default=str).encode()


def _multipart(ctype: str, body: bytes) -> tuple[str, str, bytes]:
    """multipart/form-data with a project_id field and a file part."""
    import email.parser
    import email.policy

    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        b"Content-Type: " + ctype.encode() + b"\r\nMIME-Version: 1.0\r\n\r\n" + body
    )
    project, name, content = None, None, None
    for part in message.iter_parts() if message.is_multipart() else []:
        field = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True) or b""
        if field == "project_id":
            project = data.decode().strip()
        elif field == "file":
            name, content = part.get_filename() or "<unnamed_file>", data
    if project is None or content is None:
        raise HttpError(422, {"detail": "want form fields project_id and file"})
    return project, name or "", content
