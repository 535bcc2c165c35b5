"""Saves dashboards as workspaces of W&B: the same name, the same workspace, however often it is saved.

The package wandb-workspaces makes the document that W&B stores, and nothing else of it is used: it would name
each new workspace and panel by chance, find none by its name, and take its key from elsewhere than we do. Its
private names are used here only. It is an extra, imported when a document is to be made.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast

from otel_wandb.delivery.credentials import Secret, WeaveTarget
from otel_wandb.delivery.weave_http import WeaveClient
from otel_wandb.errors import (
    ConfigError,
    CredentialError,
    DeliveryError,
    DeliveryRefused,
    DeliveryRetryable,
)
from otel_wandb.metrics.panels import TIME, Panel, Section
from otel_wandb.metrics.runs import JOB_TYPE

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2.interface import LinePlot, WeavePanelSummaryTable
    from wandb_workspaces.workspaces import Section as PanelSection

_KIND: Final = "project-view"
_COLUMNS: Final = 3
_MOST_ROWS: Final = 5
_RUNS_SHOWN: Final = 31
"""A month of days."""
_MAX_NAME: Final = 128
_NOT_IN_NAMES: Final = ("So", "Sk", "Sm", "Sc", "Cs", "Cc", "Cf")
"""Kinds of characters that W&B does not take in the name of a workspace, and those that cannot be seen."""
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_GROUP: Final = "Group"
"""What the package calls the group of a run: the service."""

# The queries of wandb-workspaces 0.4.13, so that whatever answers it answers us.
_VIEW: Final = """query View($entityName: String, $name: String, $viewType: String, $viewName: String) {
    project(name: $name, entityName: $entityName) {
        allViews(viewType: $viewType, viewName: $viewName) { edges { node { id displayName spec } } }
    }
}"""
_UPSERT: Final = """mutation UpsertView2(
    $id: ID, $entityName: String, $projectName: String, $type: String, $name: String, $displayName: String,
    $description: String, $spec: String
) {
    upsertView(input: {
        id: $id, entityName: $entityName, projectName: $projectName, name: $name, displayName: $displayName,
        description: $description, type: $type, spec: $spec, createdUsing: WANDB_SDK
    }) { view { id name } inserted }
}"""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A workspace as it is to be: of the runs of a service, or of all our runs where that is empty."""

    entity: str
    """Empty: the default one of the API key."""
    project: str
    service: str
    title: str
    sections: tuple[Section, ...]

    @property
    def key(self) -> str:
        """Eleven letters and digits that follow from the title: the workspace in its address."""
        return _short_digest("view", self.title)

    @property
    def shown_title(self) -> str:
        """The title as far as W&B takes it."""
        kept = (char for char in self.title if unicodedata.category(char) not in _NOT_IN_NAMES)
        return " ".join("".join(kept).split())[:_MAX_NAME] or self.key


class Saved(NamedTuple):
    """What became of a dashboard, and where it is."""

    outcome: Literal["made", "changed", "unchanged"]
    place: str
    url: str


class _View(NamedTuple):
    id: str
    title: str
    spec: object


def make_variables(dashboard: Dashboard) -> dict[str, object]:
    """What is sent to save it, but for the `spec` being an object: the same for the same dashboard.

    Raises ConfigError where wandb-workspaces is not there, or does not make a workspace of it.
    """
    return {
        "entityName": dashboard.entity or None,
        "projectName": dashboard.project,
        "name": f"nw-{dashboard.key}-v",
        "displayName": dashboard.shown_title,
        "type": _KIND,
        "description": "",
        "spec": make_spec(dashboard),
    }


def make_spec(dashboard: Dashboard) -> dict[str, object]:
    """The document that W&B stores of a workspace. Raises as `make_variables` does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the package says of its own dependencies is not for our users
        try:
            import wandb_workspaces.workspaces as ws
        except ImportError as error:
            raise ConfigError(
                f"dashboards need the package wandb-workspaces ({error}); pip install 'otel-wandb[dashboard]'"
            ) from None
        settings = ws.WorkspaceSettings(x_axis=TIME, max_runs=_RUNS_SHOWN, group_by_prefix="first")
        workspace = ws.Workspace(
            entity=dashboard.entity,
            project=dashboard.project,
            name=dashboard.shown_title,
            sections=[_make_section(section) for section in dashboard.sections],
            settings=settings,
        )
        workspace._internal_runset_id = _short_digest("runs", dashboard.title)
        # As it is kept of a workspace that was loaded: a text of filters cannot hold every name of a service.
        workspace._stashed_filters_v2 = _make_filter(dashboard.service)
        workspace._stashed_filter_string = str(workspace.runset_settings.filters)
        view = workspace._to_model()
        spec: dict[str, object] = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))
    return spec


def _make_section(section: Section) -> PanelSection:
    import wandb_workspaces.workspaces as ws

    columns = 1 if all(panel.table for panel in section.panels) else _COLUMNS
    rows = min(_MOST_ROWS, -(-len(section.panels) // columns))
    return ws.Section(
        name=section.title,
        panels=[_make_panel(section.title, panel) for panel in section.panels],
        is_open=section.open,
        layout_settings=ws.SectionLayoutSettings(columns=columns, rows=rows),
        panel_settings=ws.SectionPanelSettings(x_axis=section.panels[0].axis),
    )


def _make_panel(section: str, panel: Panel) -> LinePlot | WeavePanelSummaryTable:
    from wandb_workspaces.reports.v2.interface import LinePlot, WeavePanelSummaryTable

    identity = _short_digest("panel", section, panel.title, *panel.keys, panel.pattern or panel.table)
    if panel.table:
        table = WeavePanelSummaryTable(table_name=panel.table)
        table._id = identity
        return table
    plot = LinePlot(
        title=panel.title,
        x=panel.axis,
        y=list(panel.keys),
        metric_regex=panel.pattern or None,
        title_y=panel.unit or None,
        plot_type="stacked-area" if panel.stacked else "line",
        groupby=_GROUP if panel.axis == TIME else None,
        max_runs_to_show=_RUNS_SHOWN,
    )
    plot._id = identity
    return plot


def _make_filter(service: str) -> dict[str, object]:
    def equals(name: str, value: str) -> dict[str, object]:
        return {"key": {"section": "run", "name": name}, "op": "=", "value": value, "disabled": False}

    filters = [equals("jobType", JOB_TYPE)]
    if service:
        text = service.encode(errors="replace").decode()  # half a character cannot be sent
        filters.append({**equals("group", text), "connector": "AND"})
    return {"filterFormat": "filterV2", "filters": filters}


class DashboardApi(WeaveClient):
    """Finds and saves workspaces; see `WeaveClient` for what is raised."""

    def find(self, key: Secret, variables: Mapping[str, object]) -> _View | None:
        """The workspace that has this name in its project.

        Raises ConfigError where there is no such project, or the key may not see it.
        """
        place = f"{variables['entityName']}/{variables['projectName']}"
        asked = {
            "entityName": variables["entityName"],
            "name": variables["projectName"],
            "viewType": variables["type"],
            "viewName": variables["name"],
        }
        match self._ask_views(key, _VIEW, asked):
            case {"project": {"allViews": {"edges": [{"node": {"id": str(found)} as node}, *_]}}}:
                return _View(found, str(node.get("displayName")), _decode_spec(node.get("spec")))
            case {"project": {"allViews": {"edges": []}}}:
                return None
            case {"project": None}:
                raise ConfigError(
                    f"there is no project {place}, or the API key may not see it; the first row or call that "
                    "is delivered makes it (`otel-wandb sync`)"
                )
        raise DeliveryRetryable(f"W&B did not tell which workspaces {place} has")

    def save(self, key: Secret, variables: Mapping[str, object]) -> None:
        """Save the workspace; with an `id` among the variables in place of the one that has it."""
        sent = {**variables, "spec": json.dumps(variables["spec"])}
        match self._ask_views(key, _UPSERT, sent):
            case {"upsertView": {"view": {"id": str()}}}:
                return
        raise DeliveryRetryable("W&B did not tell whether it has saved the workspace")

    def _ask_views(self, key: Secret, query: str, variables: Mapping[str, object]) -> dict[str, object]:
        return self._ask_app(key, query, cast("Mapping[str, str]", variables))  # any JSON will do


def save_dashboards(
    dashboards: Iterable[Dashboard],
    target: WeaveTarget,
    *,
    timeout_s: float,
    environ: Mapping[str, str] = os.environ,
) -> list[Saved]:
    """Save each in its project, where one of that name is there in its place.

    Raises:
        CredentialError: there is no key, or W&B does not know it.
        ConfigError: the project does not exist, or there is no wandb-workspaces.
        DeliveryError: W&B refuses, or cannot be reached. Nothing speaks against calling it again.
    """
    key = target.api_key
    if key is None:
        raise CredentialError(f"the workspace cannot be saved: {target.offline}")
    try:
        api = DashboardApi(target, timeout_s=timeout_s)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"connections to {target.base_url} cannot be set up: {error}; look at proxy and TLS"
        ) from None
    try:
        return [_save(api, key, dashboard, target, environ) for dashboard in dashboards]
    finally:
        api.close()


def _save(
    api: DashboardApi, key: Secret, dashboard: Dashboard, target: WeaveTarget, environ: Mapping[str, str]
) -> Saved:
    variables = make_variables(dashboard)
    place = "/".join(filter(None, (dashboard.entity, dashboard.project)))
    try:
        entity = dashboard.entity or target.entity or api.default_entity(key)
        if not entity:
            raise ConfigError(
                "the API key has no default entity; set WANDB_ENTITY, or the project as entity/project"
            )
        place = f"{entity}/{dashboard.project}"
        variables["entityName"] = entity
        saved = _put(api, key, variables)
    except DeliveryError as error:
        raise _explain(error, target, place) from None
    return Saved(saved, place, f"{_app_url(target.base_url, environ)}/{place}?nw={dashboard.key}")


def _put(
    api: DashboardApi, key: Secret, variables: Mapping[str, object]
) -> Literal["made", "changed", "unchanged"]:
    known = api.find(key, variables)
    if known is None:
        api.save(key, variables)
        return "made"
    if (known.title, known.spec) == (variables["displayName"], variables["spec"]):
        return "unchanged"
    api.save(key, {**variables, "id": known.id})
    return "changed"


def _explain(error: DeliveryError, target: WeaveTarget, place: str) -> Exception:
    """The error in the words of this command."""
    status = error.status if isinstance(error, DeliveryRefused) else None
    if status == _UNAUTHORIZED:
        return CredentialError(
            f"{target.base_url} does not know the API key found in {target.key_origin} (401); set another one"
        )
    if status == _FORBIDDEN:
        return DeliveryRefused(
            f"the API key found in {target.key_origin} may not save workspaces in {place} (403); "
            "look up the key, the entity and the project",
            status=_FORBIDDEN,
            answer=str(error),
        )
    if isinstance(error, DeliveryRefused):
        text = f"the workspace was not saved in {place}: {error}"
        return DeliveryRefused(text, status=error.status, answer=error.answer)
    text = f"the workspace was not saved in {place}: {error}; call it again, it makes no second one"
    return DeliveryRetryable(text)


def _app_url(base_url: str, environ: Mapping[str, str]) -> str:
    """Where people look at what is behind the API."""
    from wandb.util import api_to_app_url

    return (environ.get("WANDB_APP_URL") or api_to_app_url(base_url)).rstrip("/")


def _decode_spec(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _short_digest(*parts: str) -> str:
    text = "\0".join(parts).encode(errors="surrogatepass")
    number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return "".join(digits[number // 36**place % 36] for place in range(11))
