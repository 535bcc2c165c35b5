"""How an alert leaves: into the log, to W&B, to a webhook."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Protocol
from urllib.parse import quote

import msgspec

from otel_wandb.alerts.plan import Route
from otel_wandb.delivery import webhook
from otel_wandb.delivery.courier import Courier
from otel_wandb.delivery.credentials import WeaveTarget, app_url, is_offline_mode
from otel_wandb.delivery.wandb_api import Place, WandbApi
from otel_wandb.errors import ConfigError, CredentialError, DeliveryRetryable
from otel_wandb.settings import Settings
from otel_wandb.store import QueuedAlert

log = logging.getLogger("otel_wandb.alerts")

_ANSWER_S: Final = 30.0
_MARGIN_S: Final = 1.0
_EXAMPLE: Final = re.compile(r"\b[0-9a-f]{32}/([0-9a-f]{16})\b")
"""A span of a trace, as alarms of views name it (`views.examples`)."""
_FRESH_S: Final = 0.001
"""W&B takes no 0: the client would make a minute of it."""


class NotYet(DeliveryRetryable):
    """What the alert is about is still on its way: no problem, for the time being."""


class Carrier(Protocol):
    """A way out. Raises DeliveryPermanent where it is closed to an alert for good, and DeliveryError,
    CredentialError or ConfigError where it may be open later."""

    def offline(self, settings: Settings) -> bool:
        """Whether nothing may be sent, for want of a key or by the user's wish."""

    def prepare(self, alert: QueuedAlert, settings: Settings) -> bytes:
        """What is to be sent, the same in every attempt; called before the first one is noted."""

    def send(
        self, alert: QueuedAlert, body: bytes, *, route: Route, settings: Settings, again_s: float | None
    ) -> None:
        """Return when the alert was taken. `again_s`: so long ago an attempt began whose end is not known."""


class WandbCarrier:
    """To the run of the service, as `run.alert` does, and from no process of wandb.

    wandb's client does the same in the one queue in which the rows of the run go out: while W&B does not
    answer, they would wait with it, and of an alert that is refused nobody would hear (measured with 0.31).
    Here the answer is seen. What was perhaps sent before is sent again so that W&B drops the repeat: with
    the time since then as its `wait_duration`, in which it takes no title twice.
    """

    def __init__(self, courier: Courier, environ: Mapping[str, str]) -> None:
        self._courier = courier
        self._environ = environ
        self._lock = threading.Lock()
        self._apis: dict[tuple[object, ...], WandbApi] = {}
        self._known: set[Place] = set()

    def offline(self, settings: Settings) -> bool:
        """Whether there is no key, or the mode is offline."""
        try:
            return bool(WeaveTarget.find(settings, self._environ).offline)
        except (ConfigError, CredentialError, OSError):
            return False  # that is a problem to be told

    def prepare(self, alert: QueuedAlert, settings: Settings) -> bytes:
        """Nothing but the certainty that the run is there: it comes with its first row."""
        api, target, place = self._find(alert, settings)
        if place not in self._known:
            assert target.api_key is not None
            if api.last_step(target.api_key, place) is None:
                raise NotYet(f"the run {place.run_id} is not in W&B yet")
            self._known.add(place)
        return b""

    def send(
        self, alert: QueuedAlert, body: bytes, *, route: Route, settings: Settings, again_s: float | None
    ) -> None:
        """Send it as an alert of the run."""
        api, target, place = self._find(alert, settings)
        assert target.api_key is not None
        wait_s = _FRESH_S if again_s is None else max(0.0, again_s) + _MARGIN_S
        text = link_examples(
            alert.text, f"{app_url(target.base_url, self._environ)}/{quote(place.entity, safe='')}", alert
        )
        api.alert(target.api_key, place, alert.title, text, alert.level, wait_s=wait_s)

    def close(self) -> None:
        """Close all connections."""
        for api in list(self._apis.values()):
            api.close()

    def _find(self, alert: QueuedAlert, settings: Settings) -> tuple[WandbApi, WeaveTarget, Place]:
        target = WeaveTarget.find(settings, self._environ)
        if target.offline or target.api_key is None:
            raise CredentialError(target.offline or "there is no API key")
        timeout_s = min(_ANSWER_S, settings.request_timeout_s)
        made_for = (target.base_url, target.proxy, target.verify_tls, timeout_s)
        with self._lock:
            if made_for not in self._apis:
                try:
                    self._apis[made_for] = WandbApi(target, timeout_s=timeout_s)
                except (OSError, ValueError) as error:  # a proxy or a certificate file that is none
                    raise ConfigError(f"connections cannot be set up: {error}") from None
            api = self._apis[made_for]
        entity = alert.entity or target.entity or api.default_entity(target.api_key)
        if not entity:
            text = "the API key has no default entity; set WANDB_ENTITY, or the project as entity/project"
            raise CredentialError(text)
        if not alert.entity:
            with self._courier.transaction() as tx:
                tx.set_entity(alert.destination, entity)
        return api, target, Place(entity, alert.project, alert.run)


class WebhookCarrier:
    """To an address of the user's."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def offline(self, settings: Settings) -> bool:
        """Whether the mode is offline; without a key of W&B a webhook works all the same."""
        return is_offline_mode(settings, self._environ)

    def prepare(self, alert: QueuedAlert, settings: Settings) -> bytes:
        """The JSON of the alert."""
        return encode_alert(alert, find_link(alert, settings, self._environ))

    def send(
        self, alert: QueuedAlert, body: bytes, *, route: Route, settings: Settings, again_s: float | None
    ) -> None:
        """Post it; a repeat has the same bytes and the same key."""
        webhook.post(route, body, uid=alert.uid, environ=self._environ)


def write_log(alert: QueuedAlert, link: str) -> None:
    """Say the alert as a warning of the log of the bridge."""
    text = link_examples(alert.text, _entity_page(link), alert)
    log.warning("%s [%s, %s]: %s%s", alert.title, alert.service, alert.level, text, link and f" {link}")


def encode_alert(alert: QueuedAlert, link: str) -> bytes:
    """What a webhook gets: docs/alerts.md tells of each field."""
    moment = datetime.fromtimestamp(alert.time_s, UTC)
    document = {
        "id": alert.uid,
        "name": alert.name,
        "state": alert.state,
        "level": alert.level,
        "title": alert.title,
        "text": link_examples(alert.text, _entity_page(link), alert),
        "service": alert.service,
        "project": f"{alert.entity}/{alert.project}" if alert.entity else alert.project,
        "run": alert.run,
        "step": alert.step,
        "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "url": link,
    }
    return msgspec.json.encode(document)


def link_examples(text: str, entity_page: str, alert: QueuedAlert) -> str:
    """The text with links to the calls that it names; as it is where nobody knows whose project it is."""
    if not entity_page:
        return text
    page = f"{entity_page}/{quote(alert.project, safe='')}/r/call/"
    return _EXAMPLE.sub(lambda found: page + found[1], text)


def _entity_page(link: str) -> str:
    """The page of the entity, by that of a run."""
    return link.rsplit("/", 3)[0] if link else ""


def find_link(alert: QueuedAlert, settings: Settings, environ: Mapping[str, str]) -> str:
    """Where the run is in the browser; empty offline, and while nobody knows whose it is."""
    try:
        target = WeaveTarget.find(settings, environ)
    except (ConfigError, CredentialError, OSError):
        return ""
    entity = alert.entity or target.entity
    if target.offline or not entity:
        return ""
    path = "/".join(quote(part, safe="") for part in (entity, alert.project, "runs", alert.run))
    return f"{app_url(target.base_url, environ)}/{path}"
