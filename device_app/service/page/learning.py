"""Requests of the page's section "Learn": what there is to learn from, and the task that learns.

The state of every other task is here too.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from device_app.data.names import DEFAULT_DOMAIN
from device_app.data.store import Store
from device_app.extras import need_packages
from device_app.models.ledger import Ledger
from device_app.service.errors import ServiceError
from device_app.service.page.owner import Owner, Person
from device_app.service.page.tasks import process
from device_app.service.page.tasks.plan import Plan
from device_app.service.page.tasks.state import Kind, TaskFiles
from device_app.status import MIN_LABELLED, NEW_FOR_NEXT, RECOMMENDED, status
from editing.errors import BlockedError, MissingDependencyError

router = APIRouter()


class LearningRequest(BaseModel):
    """What to learn."""

    domain: str = DEFAULT_DOMAIN


@router.get("/learning")
async def overview(person: Person) -> dict[str, Any]:
    """How many recordings each domain has, whether they suffice, and the WER on them, as measured last."""

    def find(store: Store) -> dict[str, Any]:
        ledger = person.ledger()
        found = status(store, ledger)
        return {
            "domains": [
                {**asdict(one), "is_ready": one.is_ready, **_duration(store, ledger, one.domain)}
                for one in found.domains
            ],
            "general_before": found.general_before,
            "general_now": found.general_now,
            "edits": list(found.edits),
            "fewest": MIN_LABELLED,
            "enough": RECOMMENDED,
            "new_for_next": NEW_FOR_NEXT,
            "cannot_learn": _why_not(),
        }

    return await person.with_store(find)


@router.post("/learning")
async def learn(chosen: LearningRequest, person: Person) -> dict[str, Any]:
    """Starts to learn from the labelled recordings of a domain."""
    if reason := _why_not():
        raise ServiceError(400, reason)
    return await start(person, "learn", {"domain": chosen.domain})


@router.get("/task")
async def task(person: Person) -> dict[str, Any]:
    """The task that runs, or the last one with its result; `stopping` is whether it was asked to stop."""

    def find() -> dict[str, Any]:
        files = TaskFiles()
        found = files.read()
        return {**asdict(found), "stopping": found.status == "running" and files.is_to_stop}

    return await person.run(find)


@router.post("/task/stop")
async def stop(person: Person) -> dict[str, Any]:
    """Asks the task to stop."""
    return asdict(await person.run(process.stop))


@router.post("/task/dismiss")
async def dismiss(person: Person) -> dict[str, Any]:
    """Forgets the result of the last task.

    Raises:
        ServiceError: it is still running.
    """
    try:
        return asdict(await person.run(process.dismiss))
    except BlockedError as error:
        raise ServiceError(409, str(error)) from error


async def start(person: Owner, kind: Kind, arguments: dict[str, Any]) -> dict[str, Any]:
    """Starts a task of the person's profile; returns it as it began.

    Raises:
        ServiceError: another one is running.
    """
    model = person.service.models.base
    try:
        return asdict(await person.run(lambda: process.start(kind, arguments, model)))
    except BlockedError as error:
        raise ServiceError(409, str(error)) from error


def _duration(store: Store, ledger: Ledger, domain: str) -> dict[str, Any]:
    """How many minutes learning takes, None if that is unknown, and whether that was measured on this machine."""
    plan = Plan.of(store, ledger, domain)
    if plan is None:
        return {"minutes": None, "is_measured": False}
    return {"minutes": max(1, round(plan.total_s / 60)), "is_measured": plan.is_measured}


def _why_not() -> str:
    """Why this installation cannot learn; empty if it can."""
    try:
        need_packages("train", "learning")
    except MissingDependencyError as error:
        return str(error)
    return ""
