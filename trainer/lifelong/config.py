"""The configuration of `asr-edge lifelong`: a TOML file whose mistakes are reported together."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from editing.errors import BadInputError, one_line
from editing.former_names import FINE_TUNING, translated
from editing.methods import METHODS
from editing.ranges import Range
from trainer.families import SCOPES
from trainer.lifelong.methods import find_methods
from trainer.training.settings import LIMITS, FineTuningSettings

KEYS = ("base", "base_domain", "order", "never_trained", "methods", "seeds", "manifests", "fine_tuning", "settings")
# Not the scope, which the method decides, and not the seed, which follows from `seeds`.
FINE_TUNING_KEYS = {one.name for one in fields(FineTuningSettings)} - {"scope", "seed"}
MAX_NAME = 200  # bytes of a domain's name; file systems have 255, and an ending follows
SEEDS = Range(0, 4_000_000, is_whole=True)  # so that `step_seed` is below 2**32


@dataclass(frozen=True)
class Experiment:
    """A base, a sequence of domains, and the methods to compare.

    Attributes:
        base: a bundle's folder, an installed model's name, or None for the embedded one.
        base_domain: the domain on which the base was trained, if known; counts as a seen domain.
        order: the domains of the sequence, in order.
        never_trained: domains that are only tested.
        methods: names of methods in `trainer.lifelong.methods`.
        seeds: each method runs once with each seed.
        manifests: the manifest of each domain, with lines of the splits "train" and "test".
        fine_tuning: fields of `trainer.training.settings.FineTuningSettings` for all methods. `target_loss` is 0 unless
            given, so that all methods train equally long; `patience` has no effect, as nothing is validated.
        settings: settings of single methods, by method.
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
        """The domains over which the average WER is computed."""
        return [*([self.base_domain] if self.base_domain else []), *self.order]

    @property
    def all_domains(self) -> list[str]:
        """All domains, in the order of the columns of R, the WER of each domain after each step."""
        return [*self.seen, *self.never_trained]

    def seen_after(self, step: int) -> list[str]:
        """The domains seen after a step, counted from 1: the base's own, if known, and the first `step` in order.

        Step 0 is the base; it has seen its own domain, if known.
        """
        return self.seen[: len(self.seen) - len(self.order) + step]


def step_seed(seed: int, step: int) -> int:
    """The seed of the fine-tuning of a step, counted from 1, in a run with one of the experiment's seeds."""
    return seed * 1000 + step


def read_experiment(path: Path) -> Experiment:
    """Reads a configuration; relative paths are relative to its folder.

    Raises:
        BadInputError: the file cannot be read, or has mistakes, which are all listed.
    """
    try:
        # Windows' Notepad writes a byte order mark. A TOMLDecodeError is a ValueError, as are numbers of many digits.
        record = translated(tomllib.loads(path.read_text("utf-8-sig")), FINE_TUNING)
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: cannot be read ({one_line(str(error))})") from error
    mistakes = list(_mistakes(record))
    if mistakes:
        raise BadInputError(f"{path}: {'; '.join(mistakes)}")
    manifests = {domain: (path.parent / manifest).resolve() for domain, manifest in record["manifests"].items()}
    base = record.get("base")
    if base is not None and (path.parent / base).is_dir():
        base = str((path.parent / base).resolve())
    return Experiment(**{**record, "manifests": manifests, "base": base})


def _mistakes(record: Mapping[str, Any]) -> list[str]:
    """The mistakes of a configuration. Names are checked only if all values have the right types."""
    return (
        _wrong_types(record)
        or [*_wrong_domains(record), *_wrong_methods(record), *_wrong_settings(record)]
        or list(_wrong_rate_of_lora(record))
    )


def _wrong_types(record: Mapping[str, Any]) -> list[str]:
    found = [f"unknown key {key!r}; known are {', '.join(KEYS)}" for key in record.keys() - set(KEYS)]
    manifests = record.get("manifests")
    if not isinstance(manifests, dict) or not all(isinstance(value, str) for value in manifests.values()):
        return [*found, "[manifests] must name the manifest of every domain"]
    for key in ("order", "never_trained", "methods"):
        found += _wrong_list(key, record.get(key, []), str, "names")
    found += _wrong_list("seeds", record.get("seeds", [0]), int, "numbers")
    for key in ("base", "base_domain"):
        if not isinstance(record.get(key, ""), str):
            found.append(f"{key} must be a name")
    tables = {"[fine_tuning]": record.get("fine_tuning", {}), "[settings]": record.get("settings", {})}
    if isinstance(tables["[settings]"], dict):
        tables |= {f"[settings.{method}]": settings for method, settings in tables["[settings]"].items()}
    found += [f"{name} must be a table" for name, table in tables.items() if not isinstance(table, dict)]
    required = {**record, "seeds": record.get("seeds", [0])}
    return [*found, *(f"{key} must not be empty" for key in ("order", "methods", "seeds") if not required.get(key))]


def _wrong_list(key: str, values: object, kind: type, kinds: str) -> Iterator[str]:
    """The mistakes of a list whose values must be of a type (`kinds` for people) and distinct."""
    if not isinstance(values, list) or any(type(value) is not kind for value in values):
        yield f"{key} must be a list of {kinds}"
    elif len(set(values)) < len(values):
        yield f"{key} names something twice"


def _wrong_domains(record: Mapping[str, Any]) -> Iterator[str]:
    for domain, manifest in record["manifests"].items():
        if not _is_file_name(domain):  # files are named after it
            yield (
                f"{one_line(repr(domain), 60)} cannot be the name of a domain: printable characters without / or \\, "
                f"no dot first, at most {MAX_NAME} bytes"
            )
        if not manifest.isprintable():
            yield f"the manifest of {one_line(domain, 60)!r} is {manifest!r}, which cannot be a path"
    base_domain, never_trained = record.get("base_domain"), record.get("never_trained", [])
    of_base = [base_domain] if base_domain else []
    for domain in [*record["order"], *never_trained, *of_base]:
        if domain not in record["manifests"]:
            yield f"[manifests] has no {domain!r}"
    for domain in never_trained:
        if domain in (*record["order"], *of_base):
            yield f"{domain!r} is in order or the base domain, so it cannot be in never_trained"
    if base_domain in record["order"]:
        yield f"{base_domain!r} is the base domain, so it cannot be in order"


def _is_file_name(name: str) -> bool:
    is_safe = name.isprintable() and not name.startswith(".") and not {*"/\\"} & {*name}
    return is_safe and 0 < len(name.encode("utf-8", "surrogatepass")) <= MAX_NAME


def _wrong_methods(record: Mapping[str, Any]) -> Iterator[str]:
    known = find_methods()
    for method in record["methods"]:
        if method not in known:
            yield f"unknown method {method!r}; known are {', '.join(known)}"


def _wrong_settings(record: Mapping[str, Any]) -> Iterator[str]:
    known = find_methods()
    for method, settings in record.get("settings", {}).items():
        if method not in known:
            yield f"[settings.{method}]: unknown method; known are {', '.join(known)}"
            continue
        unknown = sorted(settings.keys() - known[method].settings.keys())
        yield from (f"[settings.{method}] has an unknown {name!r}" for name in unknown)
        if not unknown:
            yield from _out_of_range(f"[settings.{method}]", settings, known[method].limits)
            yield from _wrong_merge(f"[settings.{method}]", known[method].settings, settings)
    for name, value in sorted(record.get("fine_tuning", {}).items()):
        if name not in FINE_TUNING_KEYS:
            yield f"[fine_tuning] has an unknown {name!r}; known are {', '.join(sorted(FINE_TUNING_KEYS))}"
            continue
        try:
            FineTuningSettings(**{name: value})
        except BadInputError as error:
            yield f"[fine_tuning] {error}"
    for seed in record.get("seeds", []):
        try:
            SEEDS.check("seeds: a seed", seed)
        except BadInputError as error:
            yield str(error)


def _out_of_range(location: str, settings: Mapping[str, Any], limits: Mapping[str, Range]) -> Iterator[str]:
    """The settings of a method that are out of range. Without this check, they would show in the first training."""
    for name in sorted(settings.keys() & limits.keys()):
        try:
            limits[name].check(name, settings[name])
        except BadInputError as error:
            yield f"{location} {error}"


def _wrong_rate_of_lora(record: Mapping[str, Any]) -> Iterator[str]:
    if "lora" in record["methods"]:
        faster = {**find_methods()["lora"].settings, **record.get("settings", {}).get("lora", {})}["faster"]
        rate = record.get("fine_tuning", {}).get("learning_rate", FineTuningSettings.learning_rate)
        if faster * rate not in LIMITS["learning_rate"]:
            yield f"lora trains at {faster:g} times the learning rate, {faster * rate:g}; expected at most 1"


def _wrong_merge(location: str, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Mistakes in the settings of a sequential-editing method, whose "method" names its merge method.

    Without this check, they would show after the first fine-tuning.
    """
    settings = {**defaults, **given}
    if "method" not in settings:
        return
    if settings["method"] not in list(METHODS):
        yield f"{location} method is {settings['method']!r}; known are {', '.join(METHODS)}"
        return
    scopes = [scope for scope in SCOPES if scope != "lora"]  # which needs adapters: the method of that name
    if settings["scope"] not in scopes:
        yield f"{location} scope is {settings['scope']!r}; known are {', '.join(scopes)}"
    used = {*METHODS[settings["method"]].settings, *given}  # of the defaults, only those that the merge method has
    merge = {name: value for name, value in settings.items() if name in used & {"lam", "density"} and value is not None}
    try:
        METHODS[settings["method"]].check(merge, vectors=1)
    except BadInputError as error:
        yield f"{location} {error}"
