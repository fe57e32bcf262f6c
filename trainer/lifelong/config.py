"""What `asr-edge lifelong` is told: a TOML file, checked as a whole."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from editing.errors import BadInputError
from trainer.lifelong.methods import find_methods
from trainer.training.loop import Settings

KEYS = ("base", "base_domain", "order", "never_trained", "methods", "seeds", "manifests", "fine_tuning", "settings")
TUNABLE = {one.name for one in fields(Settings)} - {"scope", "seed"}


@dataclass(frozen=True)
class Experiment:
    """A base, domains in an order, and the methods to compare.

    Attributes:
        base: a bundle's folder, an installed model's name, or None for the embedded one.
        base_domain: what the base was trained on, if that is known; counted among the seen.
        order: domains to be learnt, one after another.
        never_trained: domains that are only heard.
        methods: their names, as `trainer.lifelong.methods` names them.
        seeds: each method is run with each.
        manifests: the manifest of each domain, with lines of the splits "train" and "test".
        fine_tuning: settings of `trainer.training.loop.Settings` that all methods share.
        settings: of single methods.
    """

    order: Sequence[str]
    methods: Sequence[str]
    manifests: Mapping[str, Path]
    base: str | None = None
    base_domain: str | None = None
    never_trained: Sequence[str] = ()
    seeds: Sequence[int] = (0,)
    fine_tuning: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def seen(self) -> list[str]:
        """The domains whose average counts."""
        return [*([self.base_domain] if self.base_domain else []), *self.order]

    @property
    def heard(self) -> list[str]:
        """All domains, in the order of a matrix's columns."""
        return [*self.seen, *self.never_trained]


def read_experiment(path: Path) -> Experiment:
    """Reads a configuration; relative paths are taken from its folder.

    Raises:
        BadInputError: it cannot be read, or has mistakes; all of them are named.
    """
    try:
        record = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read ({error})") from error
    mistakes = list(_mistakes(record))
    if mistakes:
        raise BadInputError(f"{path}: {'; '.join(mistakes)}")
    manifests = {domain: (path.parent / manifest).resolve() for domain, manifest in record["manifests"].items()}
    base = record.get("base")
    if base is not None and (path.parent / base).is_dir():
        base = str((path.parent / base).resolve())
    return Experiment(**{**record, "manifests": manifests, "base": base})


def _mistakes(record: Mapping[str, Any]) -> list[str]:
    found = [f"unknown key {key!r}; there are {', '.join(KEYS)}" for key in record.keys() - set(KEYS)]
    manifests = record.get("manifests")
    if not isinstance(manifests, dict) or not all(isinstance(value, str) for value in manifests.values()):
        return [*found, "[manifests] must name the manifest of every domain"]
    lists = {key: record.get(key, []) for key in ("order", "never_trained", "methods", "seeds")}
    for key, value in lists.items():
        kind = int if key == "seeds" else str
        if not isinstance(value, list) or not all(type(one) is kind for one in value):
            found.append(f"{key} must be a list of {'numbers' if kind is int else 'names'}")
        elif len(set(value)) < len(value):
            found.append(f"{key} names something twice")
    found += [f"{key} must not be empty" for key in ("order", "methods") if not record.get(key)]
    if found:
        return found
    base_domain = record.get("base_domain")
    for domain in [*lists["order"], *lists["never_trained"], *([base_domain] if base_domain else [])]:
        if domain not in manifests:
            found.append(f"[manifests] has no {domain!r}")
    learned = {*lists["order"], *([base_domain] if base_domain else [])}
    found += [
        f"{domain!r} is learnt, so it is no domain never trained on"
        for domain in lists["never_trained"]
        if domain in learned
    ]
    known = find_methods()
    for method in lists["methods"]:
        if method not in known:
            found.append(f"unknown method {method!r}; there are {', '.join(known)}")
    for method, settings in record.get("settings", {}).items():
        unknown = sorted(settings.keys() - known[method].settings.keys()) if method in known else [method]
        found += [f"[settings.{method}] has an unknown {name!r}" for name in unknown]
    found += [
        f"[fine_tuning] has an unknown {name!r}; there are {', '.join(sorted(TUNABLE))}"
        for name in sorted(record.get("fine_tuning", {}).keys() - TUNABLE)
    ]
    return found
