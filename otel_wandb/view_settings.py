"""The setting `views` as it is given: views in code, a list of mappings, its JSON or YAML, or a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from otel_wandb.views.definitions import Budget, Degradation, Drift, View, name_view
from otel_wandb.views.reference import Reference


def read_views(value: object, base: Path | None = None) -> str:
    """The one text for what is given, JSON; empty without views.

    A text of one line that does not begin with a bracket is the path of a YAML file, relative to `base`
    (None: the working directory). A `reference` of a view may be the path of a file as well, relative to the
    file that names it. Raises ValueError: a sentence.
    """
    if isinstance(value, str | Path):
        text = str(value).strip()
        if not text:
            return ""
        if text.startswith("[") or "\n" in text:
            return _write(_parse(text), "", base)
        file = (base or Path.cwd()) / Path(text).expanduser()
        try:
            content = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ValueError(f"the file {file} cannot be read: {reason}") from None
        return _write(_parse(content), f"in {file}: ", file.parent)
    return _write(value, "", base)


def parse_views(text: str) -> tuple[View, ...]:
    """The views of a text that `read_views` gave."""
    return msgspec.json.decode(text, type=tuple[View, ...]) if text else ()


def _parse(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        import yaml

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"it is neither JSON nor YAML: {' '.join(str(error).split())}") from None


def _write(told: object, where: str, base: Path | None) -> str:
    if told in (None, []):
        return ""
    if not isinstance(told, Sequence) or isinstance(told, str | bytes):
        raise ValueError(f"{where}it must be a list of views, such as `- {{view: slo, instrument: …}}`")
    views = [_read(i, one, where, base) for i, one in enumerate(told)]
    names = Counter((type(view).__name__, name_view(view)) for view in views)
    for (kind, name), count in names.items():
        if count > 1:
            raise ValueError(
                f"{where}{count} views of the kind {kind} are called {name!r}; give each a `name`"
            )
    return msgspec.json.encode(views).decode() if views else ""


def _read(i: int, one: object, where: str, base: Path | None) -> View:
    try:
        plain = msgspec.to_builtins(one)
        if isinstance(plain, dict) and isinstance(plain.get("reference"), str):
            file = (base or Path.cwd()) / Path(plain["reference"]).expanduser()
            plain = {**plain, "reference": msgspec.to_builtins(load_reference(file))}
        view: View = msgspec.convert(plain, type=View)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}view {i + 1}: {error}") from None
    problem = _find_problem(view)
    if problem:
        raise ValueError(f"{where}view {i + 1} ({name_view(view)}): {problem}")
    return view


def load_reference(file: Path) -> Reference:
    """The reference in a file that `otel-wandb reference create` made. Raises ValueError: a sentence."""
    try:
        return Reference.from_json(file.read_bytes())
    except OSError as error:
        raise ValueError(f"the reference {file} cannot be read: {error.strerror}") from None
    except (ValueError, msgspec.MsgspecError) as error:
        raise ValueError(f"{file} is no reference: {error}") from None


def _find_problem(view: View) -> str:
    """What the types of fields cannot say; empty where all is well."""
    if isinstance(view, Drift):
        return _find_drift_problem(view)
    if isinstance(view, Budget):
        if (view.usd_per_day is None) == (view.usd_per_month is None):
            return "give one of usd_per_day and usd_per_month"
        if len(view.by) > 1:
            return f"money is watched by one attribute, not by {len(view.by)}"
        if len({*view.by, *view.where}) > 1:
            return "money is known by one attribute at a time; `where` and `by` have to name the same one"
    if isinstance(view, Degradation):
        return _find_score_problem(view)
    return ""


def _find_score_problem(view: Degradation) -> str:
    if view.score == "within_p95":
        return "" if view.baseline > 0 else "the baseline is a duration in seconds, and above 0"
    low, high = (view.low, view.high) if view.score == "values" else (0.0, 1.0)
    if not low < high:
        return f"low ({low:g}) has to be below high ({high:g})"
    if not low < view.baseline <= high:
        return f"the baseline ({view.baseline:g}) has to lie between {low:g} and {high:g}"
    limit = view.baseline - view.tolerance * abs(view.baseline)
    if limit <= low:
        return f"with this tolerance {limit:g} would be allowed, and nothing is below {low:g}"
    return ""


def _find_drift_problem(view: Drift) -> str:
    if view.order == "categories" and not view.category:
        return "categories need `category`, the attribute whose values they are"
    if view.unit == "interval" and view.strata != "none":
        return "intervals as the unit and strata cannot be had together; give one of them"
    if view.reference is None:
        return ""
    if bool(view.reference.names) != (view.order == "categories"):
        return "a reference of names is for the order `categories`, one of values for `ordered`"
    if len(view.reference.counts) == 1 and (view.unit == "interval" or view.strata != "none"):
        wanted = "interval" if view.unit == "interval" else "stratum"
        return f"the reference has to have counts of each {wanted}; without a reference it is learnt"
    return ""


@lru_cache(maxsize=64)
def cost_labels(cost_by: str, views: str) -> tuple[str, ...]:
    """The attributes by whose values cost is counted: those of `cost_by`, and those that budgets watch."""
    budgets = [view for view in parse_views(views) if isinstance(view, Budget)]
    watched = [name for view in budgets for name in (*view.by, *view.where)]
    return tuple(dict.fromkeys(name for name in (*cost_by.split(","), *watched) if name))
