"""The record in a ledger's file (edits, versions and the active version), and its validation."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

from editing.errors import BadInputError, one_line
from editing.former_names import DOMAINS, translated, translated_reason
from editing.json_text import is_number, is_scores, is_whole_number, parse_json, shown
from editing.methods import METHODS

FORMAT_VERSION = 1
MAX_BYTES = 256 << 20  # the ledger of a thousand edits has half of that
LATER_FIELDS = ("held_out", "rejection", "retired_terms")  # of an edit; ledgers without them open
HASH = re.compile(r"[0-9a-f]{64}")

Check = Callable[[Any], bool]  # whether a value from JSON is valid


@dataclass(frozen=True)
class Edit:
    """One change of the weights.

    Attributes:
        id: its number.
        kind: "adapt", "import" (a vector from another machine), "merge" (several vectors) or "fleet" (a group).
        domains: domains of the task vectors; several for a merge.
        vectors: hashes of the files of the task vectors.
        method, settings: the merge method and its initial settings.
        created: ISO 8601, UTC.
        utterances, seconds: size of the training sets.
        held_out: number of utterances of its domains on which the gate measured it; 0 if that was not recorded.
        before, after: WER by domain, before and after the edit, as measured by the gate; without domains of which it
            measured a part only.
        reasons: why the gate rejected it; empty if it was promoted.
        rejection: the most important reason as a code, see `device_app.adaptation.gate.Rejection`; None if it was
            promoted, or was rejected before codes were recorded.
        retired_terms: corrected words that left the list of terms because of it; a revert puts them back.
    """

    id: int
    kind: str
    domains: Sequence[str]
    vectors: Sequence[str]
    method: str
    settings: Mapping[str, Any]
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    utterances: int = 0
    seconds: float = 0.0
    held_out: int = 0
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    reasons: Sequence[str] = ()
    rejection: str | None = None
    retired_terms: Sequence[str] = ()

    @property
    def domain(self) -> str:
        """The domains as one display name."""
        return " + ".join(self.domains)

    def record(self) -> dict[str, Any]:
        """The edit as a JSON object. Fields that older ledgers lack are left out where there is nothing in them."""
        return {name: value for name, value in asdict(self).items() if name not in LATER_FIELDS or value}


@dataclass(frozen=True)
class Applied:
    """An edit as applied in a version.

    Attributes:
        edit: the number of the edit.
        vectors: hashes of the files of its task vectors.
        method, settings: as in `Edit`, but `reweight` may have changed the settings.
    """

    edit: int
    vectors: Sequence[str]
    method: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Effect:
    """How an edit was applied last, and what it did.

    Attributes:
        settings: those of its merge.
        before, after: WER by domain, before and after it was applied so; for a rejected edit as the gate measured it.
    """

    settings: Mapping[str, Any]
    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass(frozen=True)
class Version:
    """A list of edits.

    Attributes:
        id: its number; 0 is the base.
        parent: the number of the version that was active before; None for the base.
        applied: the edits, in order.
        why: the change that created it, as a display text.
        created: ISO 8601, UTC.
        wer: WER by domain, as far as it was measured.
    """

    id: int
    parent: int | None
    applied: Sequence[Applied] = ()
    why: str = "the base model"
    created: str = ""
    wer: Mapping[str, float] = field(default_factory=dict)

    def how_applied(self, edit: int) -> Applied | None:
        """How this version applies the edit with a number; None if it does not."""
        return next((one for one in self.applied if one.edit == edit), None)

    def merged(self, edit: Edit) -> Applied | None:
        """The edit of this version, a merge, that has the task vectors of another one and more; None without it."""
        return next((one for one in self.applied if Counter(edit.vectors) < Counter(one.vectors)), None)

    def parts(self, merges: Collection[int], edits: Sequence[Edit]) -> list[Edit]:
        """Those of some edits that this version has only as parts of merges with these numbers."""
        return [edit for edit in edits if (merge := self.merged(edit)) is not None and merge.edit in merges]

    def beside(self, edit: Edit) -> list[Applied]:
        """The edits that stay when another one is added, which replaces those that have only task vectors of it.

        Raises:
            BadInputError: one has a task vector of the new edit and others; that vector would be applied twice.
        """
        kept = []
        for one in self.applied:
            if one.edit == edit.id or Counter(one.vectors) <= Counter(edit.vectors):
                continue
            if {*one.vectors} & {*edit.vectors}:
                raise BadInputError(
                    f"edit {one.edit}, which is active, has one of these task vectors already; nothing was changed. "
                    f"Revert edit {one.edit} first"
                )
            kept.append(one)
        return kept


@dataclass(frozen=True)
class Record:
    """The content of a ledger's file.

    Attributes:
        base: SHA-256 of the base model's weights.
        edits: all edits, numbered from 1 in order.
        versions: all versions, numbered from 0, the base, in order.
        current: the number of the active version.
    """

    base: str
    edits: Sequence[Edit] = ()
    versions: Sequence[Version] = (Version(0, None),)
    current: int = 0

    @property
    def vectors(self) -> set[str]:
        """The hashes of all task vectors that an edit refers to."""
        return {digest for edit in self.edits for digest in edit.vectors}

    def to_bytes(self) -> bytes:
        """The record as the bytes of the ledger's file: JSON, UTF-8."""
        record = {
            "format_version": FORMAT_VERSION,
            "base": self.base,
            "current": self.current,
            "edits": [edit.record() for edit in self.edits],
            "versions": [asdict(version) for version in self.versions],
        }
        return (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode()


class DamagedRecordError(ValueError):
    """A ledger's file is damaged; the message is one line."""


class NewerRecordError(ValueError):
    """A newer asr-edge has written a ledger's file; the message is one line."""


def parse_record(data: bytes) -> Record:
    """Parses and validates a ledger's file; every reference to an edit or a version is valid in the result.

    Args:
        data: the bytes of the file; untrusted.

    Raises:
        NewerRecordError: a newer asr-edge has written it.
        DamagedRecordError: it is damaged.
    """
    try:
        return _record(parse_json(data, strict=True))
    except NewerRecordError:
        raise
    except ValueError as error:
        raise DamagedRecordError(one_line(str(error))) from None


def _record(value: Any) -> Record:
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    version: Any = value.get("format_version")
    if not is_whole_number(version, minimum=1):
        raise ValueError("it has no format version")
    if version > FORMAT_VERSION:
        raise NewerRecordError(f"format version {version}; this asr-edge reads version {FORMAT_VERSION}")
    _check_fields(value, "it", {"base": _is_hash, "edits": _is_list, "versions": _is_list, "current": is_whole_number})
    edits = [_edit(number, one) for number, one in enumerate(value["edits"], 1)]
    versions = [_version(number, one, edits) for number, one in enumerate(value["versions"])]
    if value["current"] >= len(versions):
        raise ValueError(f"the active version, {value['current']}, does not exist")
    return Record(value["base"], edits, versions, value["current"])


def _edit(number: int, value: Any) -> Edit:
    subject = f"edit {number}"
    checks: dict[str, Check] = {
        "id": lambda found: is_whole_number(found) and found == number,
        "kind": _is_text,
        "domains": _are_texts,
        "vectors": _are_hashes,
        "method": lambda found: _is_text(found) and found in METHODS,
        "settings": lambda found: isinstance(found, dict),
        "created": _is_text,
        "utterances": is_whole_number,
        "seconds": is_number,
        "held_out": is_whole_number,
        "before": is_scores,
        "after": is_scores,
        "reasons": _are_texts,
        "rejection": lambda found: found is None or _is_text(found),
        "retired_terms": _are_texts,
    }
    found = Edit(**_checked(value, subject, checks, Edit))
    edit = replace(found, before=translated(found.before, DOMAINS), after=translated(found.after, DOMAINS))
    _check_settings(subject, edit.method, edit.settings)
    if edit.after.keys() != edit.before.keys():
        raise ValueError(f"{subject} has WERs of different domains before and after")
    return edit


def _version(number: int, value: Any, edits: Sequence[Edit]) -> Version:
    subject = f"version {number}"
    checks: dict[str, Check] = {
        "id": lambda found: is_whole_number(found) and found == number,
        # A parent has a smaller number, so every chain of parents ends at the base.
        "parent": lambda found: is_whole_number(found, maximum=number - 1) if number else found is None,
        "applied": lambda found: _is_list(found) and (number > 0 or not found),
        "why": _is_text,
        "created": _is_text,
        "wer": is_scores,
    }
    known = _checked(value, subject, checks, Version)
    applied = [_applied(subject, one, edits) for one in known.get("applied", ())]
    version = Version(**{**known, "applied": applied})
    return replace(version, why=translated_reason(version.why), wer=translated(version.wer, DOMAINS))


def _applied(subject: str, value: Any, edits: Sequence[Edit]) -> Applied:
    checks: dict[str, Check] = {
        "edit": lambda found: is_whole_number(found, minimum=1, maximum=len(edits)),
        "vectors": _are_hashes,
        "method": lambda found: _is_text(found) and found in METHODS,
        "settings": lambda found: isinstance(found, dict),
    }
    applied = Applied(**_checked(value, f"an edit of {subject}", checks, Applied))
    if not set(applied.vectors) <= set(edits[applied.edit - 1].vectors):
        raise ValueError(f"{subject} has task vectors for edit {applied.edit} that this edit does not have")
    _check_settings(f"edit {applied.edit} of {subject}", applied.method, applied.settings)
    return applied


def _checked(value: Any, subject: str, checks: Mapping[str, Check], dataclass_type: type[Any]) -> dict[str, Any]:
    """Checks the fields of a JSON object for a dataclass; fields with a default may be missing.

    Args:
        value: the object.
        subject: its name in error messages.
        checks: whether the value of a field is valid, by its name.
        dataclass_type: the dataclass.

    Returns:
        The object.

    Raises:
        ValueError: it is not an object, lacks a field, or has a field that is unknown or invalid.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{subject} is not a JSON object")
    if unknown := sorted(value.keys() - checks.keys()):
        raise ValueError(f"{subject} has the unknown field {shown(unknown[0])}")
    needed = {one.name for one in fields(dataclass_type) if one.default is MISSING and one.default_factory is MISSING}
    _check_fields(value, subject, {name: check for name, check in checks.items() if name in needed | value.keys()})
    return value


def _check_fields(value: Mapping[str, Any], subject: str, checks: Mapping[str, Check]) -> None:
    for name, is_valid in checks.items():
        if name not in value:
            raise ValueError(f"{subject} has no {name!r}")
        if not is_valid(value[name]):
            raise ValueError(f"{subject} has an invalid {name!r}: {shown(value[name])}")


def _check_settings(subject: str, method: str, settings: Mapping[str, Any]) -> None:
    if "lam" not in settings:
        raise ValueError(f"{subject} has no lambda")
    known = METHODS[method].settings
    for name, value in settings.items():
        if name not in known:
            raise ValueError(f"{subject} has a setting that {method} does not have: {shown(name)}")
        is_valid = {str: _is_text, int: is_whole_number}.get(type(known[name]), is_number)
        if not (is_valid(value) or (name == "lam" and is_scores(value))):  # lambda may differ by part of the model
            raise ValueError(f"{subject} has an invalid {name!r}: {shown(value)}")
    try:
        METHODS[method].check(settings)
    except ValueError as error:
        raise ValueError(f"{subject}: {error}") from None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _are_texts(value: Any) -> bool:
    return _is_list(value) and all(_is_text(one) for one in value)


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and HASH.fullmatch(value) is not None


def _are_hashes(value: Any) -> bool:
    return _is_list(value) and bool(value) and all(_is_hash(one) for one in value)
