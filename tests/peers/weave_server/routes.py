"""Which path is which method and request model of the wheel's trace server.

Flags: w writes, s streams JSON lines.
"""

from __future__ import annotations

_V2 = "/v2/{entity}/{project}"
ROUTES: list[tuple[str, str, str, str, str]] = [
    ("POST", "/call/start", "call_start", "CallStartReq", "w"),
    ("POST", "/call/end", "call_end", "CallEndReq", "w"),
    ("POST", "/call/upsert_batch", "call_start_batch", "CallCreateBatchReq", "w"),
    ("POST", _V2 + "/call/start", "call_start_v2", "CallStartV2Req", "w"),
    ("POST", _V2 + "/call/end", "call_end_v2", "CallEndV2Req", "w"),
    ("POST", _V2 + "/calls/complete", "calls_complete", "CallsUpsertCompleteReq", "w"),
    ("POST", "/call/update", "call_update", "CallUpdateReq", "w"),
    ("POST", "/calls/delete", "calls_delete", "CallsDeleteReq", "w"),
    ("POST", "/call/read", "call_read", "CallReadReq", ""),
    ("POST", "/calls/query", "calls_query", "CallsQueryReq", ""),
    ("POST", "/calls/stream_query", "calls_query_stream", "CallsQueryReq", "s"),
    ("POST", "/calls/query_stats", "calls_query_stats", "CallsQueryStatsReq", ""),
    ("POST", "/calls/stats", "call_stats", "CallStatsReq", ""),
    ("POST", "/calls/usage", "calls_usage", "CallsUsageReq", ""),
    ("POST", "/trace/usage", "trace_usage", "TraceUsageReq", ""),
    ("POST", "/obj/create", "obj_create", "ObjCreateReq", "w"),
    ("POST", "/obj/read", "obj_read", "ObjReadReq", ""),
    ("POST", "/objs/query", "objs_query", "ObjQueryReq", ""),
    ("POST", "/obj/delete", "obj_delete", "ObjDeleteReq", "w"),
    ("PUT", "/objs/{object_id}/versions/{digest}/tags", "obj_add_tags", "ObjAddTagsReq", "w"),
    ("POST", "/objs/{object_id}/versions/{digest}/tags/remove", "obj_remove_tags", "ObjRemoveTagsReq", "w"),
    ("PUT", "/objs/{object_id}/aliases", "obj_set_aliases", "ObjSetAliasesReq", "w"),
    ("POST", "/objs/{object_id}/aliases/remove", "obj_remove_aliases", "ObjRemoveAliasesReq", "w"),
    ("GET", "/tags", "tags_list", "TagsListReq", ""),
    ("GET", "/aliases", "aliases_list", "AliasesListReq", ""),
    ("POST", "/table/create", "table_create", "TableCreateReq", "w"),
    ("POST", "/table/create_from_digests", "table_create_from_digests", "TableCreateFromDigestsReq", "w"),
    ("POST", "/table/update", "table_update", "TableUpdateReq", "w"),
    ("POST", "/table/query", "table_query", "TableQueryReq", ""),
    ("POST", "/table/query_stream", "table_query_stream", "TableQueryReq", "s"),
    ("POST", "/table/query_stats", "table_query_stats", "TableQueryStatsReq", ""),
    ("POST", "/table/query_stats_batch", "table_query_stats_batch", "TableQueryStatsBatchReq", ""),
    ("POST", "/refs/read_batch", "refs_read_batch", "RefsReadBatchReq", ""),
    ("POST", "/files/query_stats", "files_stats", "FilesStatsReq", ""),
    ("POST", "/cost/create", "cost_create", "CostCreateReq", "w"),
    ("POST", "/cost/query", "cost_query", "CostQueryReq", ""),
    ("POST", "/cost/purge", "cost_purge", "CostPurgeReq", "w"),
    ("POST", "/feedback/create", "feedback_create", "FeedbackCreateReq", "w"),
    ("POST", "/feedback/batch/create", "feedback_create_batch", "FeedbackCreateBatchReq", "w"),
    ("POST", "/feedback/query", "feedback_query", "FeedbackQueryReq", ""),
    ("POST", "/feedback/purge", "feedback_purge", "FeedbackPurgeReq", "w"),
    ("POST", "/feedback/replace", "feedback_replace", "FeedbackReplaceReq", "w"),
    ("POST", "/feedback/stats", "feedback_stats", "FeedbackStatsReq", ""),
    ("POST", "/feedback/aggregate", "feedback_aggregate", "FeedbackAggregateReq", ""),
    ("POST", "/feedback/payload_schema", "feedback_payload_schema", "FeedbackPayloadSchemaReq", ""),
    ("POST", "/project/stats", "project_stats", "ProjectStatsReq", ""),
    ("POST", "/project/ttl_settings/read", "project_ttl_settings_read", "ProjectTTLSettingsReadReq", ""),
    ("POST", "/threads/stream_query", "threads_query_stream", "ThreadsQueryReq", "s"),
    ("POST", "/agents/spans/query", "agent_spans_query", "AgentSpansQueryReq", ""),
    ("POST", "/agents/spans/stats", "agent_spans_stats", "AgentSpanStatsReq", ""),
    ("POST", "/agents/traces/chat", "agent_traces_chat", "AgentTraceChatReq", ""),
    ("POST", "/agents/conversations/chat", "agent_conversation_chat", "AgentConversationChatReq", ""),
    ("POST", "/agents/query", "agent_agents_query", "AgentsQueryReq", ""),
    ("POST", "/agents/agent-versions/query", "agent_versions_query", "AgentVersionsQueryReq", ""),
    ("POST", "/evaluations/status", "evaluation_status", "EvaluationStatusReq", ""),
    ("POST", _V2 + "/eval_results/query", "eval_results_query", "EvalResultsQueryReq", ""),
]
for _name, _plural, _by_digest in [
    ("op", "ops", True),
    ("dataset", "datasets", True),
    ("scorer", "scorers", True),
    ("evaluation", "evaluations", True),
    ("model", "models", True),
    ("evaluation_run", "evaluation_runs", False),
    ("prediction", "predictions", False),
    ("score", "scores", False),
]:
    _cls = "".join(p.capitalize() for p in _name.split("_"))
    _base = f"{_V2}/{_plural}"
    ROUTES.append(("POST", _base, f"{_name}_create", f"{_cls}CreateReq", "w"))
    ROUTES.append(("GET", _base, f"{_name}_list", f"{_cls}ListReq", "s"))
    if _by_digest:
        ROUTES.append(
            ("GET", _base + "/{object_id}/versions/{digest}", f"{_name}_read", f"{_cls}ReadReq", "")
        )
        ROUTES.append(("DELETE", _base + "/{object_id}", f"{_name}_delete", f"{_cls}DeleteReq", "w"))
    else:
        ROUTES.append(("GET", _base + "/{%s_id}" % _name, f"{_name}_read", f"{_cls}ReadReq", ""))
        ROUTES.append(("DELETE", _base, f"{_name}_delete", f"{_cls}DeleteReq", "w"))
        if _name != "score":
            ROUTES.append(
                ("POST", _base + "/{%s_id}/finish" % _name, f"{_name}_finish", f"{_cls}FinishReq", "w")
            )
OTLP_PATHS = {
    "/otel/v1/traces": "otel_export",
    "/otel/v1/trace": "otel_export",
    "/agents/otel/v1/traces": "genai_otel_export",
}
FILE_CREATE = {"/file/create", "/files/create"}
FILE_CONTENT = {"/file/content", "/files/content"}
