"""Requests of the page's section "History": each edit, what it did, and how strongly it is applied."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from device_app.data.names import GUARD_SET
from device_app.models.ledger import Edit, Ledger
from device_app.service.page.learning import start
from device_app.service.page.owner import Person
from editing.errors import BadInputError

router = APIRouter(prefix="/history")

Lambda = Annotated[float, Field(ge=0.0, le=2.0)]


class Weight(BaseModel):
    """The scaling coefficient to apply an edit with; None leaves it as it is."""

    lam: Lambda | None = None


@router.get("")
async def edits(person: Person) -> dict[str, Any]:
    """All edits, the newest first, and the WER of each version that led to the active one."""

    def find() -> dict[str, Any]:
        ledger = person.ledger()
        return {
            "general": GUARD_SET,
            "edits": [_record(ledger, edit) for edit in reversed(ledger.edits)],
            "versions": _versions(ledger),
            "next": len(ledger.versions),  # the number of the version that a trial makes now
        }

    return await person.run(find)


@router.post("/measure")
async def measure(person: Person) -> dict[str, Any]:
    """Starts the task that measures the versions of which a WER is missing."""
    return await start(person, "measure", {})


@router.post("/{edit}/revert")
async def revert(edit: int, person: Person) -> dict[str, Any]:
    """Starts the task that removes an edit from the active version; other edits stay."""
    await person.run(lambda: _check_applied(person.ledger(), edit))
    return await start(person, "revert", {"edit": edit})


@router.post("/{edit}/preview")
async def preview(edit: int, weight: Weight, person: Person) -> dict[str, Any]:
    """Starts the task that measures what another weight would do. Changes nothing."""
    await person.run(lambda: person.ledger().edit(edit))
    return await start(person, "preview", _arguments(edit, weight))


@router.post("/{edit}/reweight")
async def reweight(edit: int, weight: Weight, person: Person) -> dict[str, Any]:
    """Starts the task that applies an edit with another weight, or one that was reverted, if it passes the gate."""
    await person.run(lambda: person.ledger().edit(edit))
    return await start(person, "reweight", _arguments(edit, weight))


def _versions(ledger: Ledger) -> list[dict[str, Any]]:
    """The versions that led to the active one, with the WER of each domain where one is known.

    What a version lacks comes from the gate of the next edit, which measured it before that edit, and from an earlier
    version with the same edits.
    """
    versions = ledger.history()
    records = [asdict(version) for version in versions]
    seen: set[int] = set()
    for index, version in enumerate(versions):
        new = {applied.edit for applied in version.applied} - seen
        for edit in map(ledger.edit, new):
            records[index - 1]["wer"] = {**edit.before, **records[index - 1]["wer"]}
        seen |= new
    for index, version in enumerate(versions):
        for earlier in range(index):
            if versions[earlier].applied == version.applied:
                records[index]["wer"] = {**records[earlier]["wer"], **records[index]["wer"]}
    return records


def _arguments(edit: int, weight: Weight) -> dict[str, Any]:
    return {"edit": edit, **({} if weight.lam is None else {"lam": weight.lam})}


def _check_applied(ledger: Ledger, edit: int) -> None:
    """
    Raises:
        BadInputError: the active version does not have the edit.
    """
    if not ledger.is_applied(ledger.edit(edit).id):
        raise BadInputError(f"edit {edit} is not part of the active version")


def _record(ledger: Ledger, edit: Edit) -> dict[str, Any]:
    """An edit with its state, the settings that it was last applied with, and the WERs before and after that."""
    effect = ledger.effect(edit)
    return {
        **asdict(edit),
        "domain": edit.domain,
        "state": ledger.state(edit),
        "settings": dict(effect.settings),
        "before": dict(effect.before),  # WERs, fractions
        "latest": dict(effect.after),
    }
