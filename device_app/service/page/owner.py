"""Whose page asks: the profile, and access to its store and ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar
from urllib.parse import unquote

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from device_app.data.store import Store
from device_app.models.bundles import find_bundle
from device_app.models.ledger import Ledger
from device_app.paths import in_profile
from device_app.service.errors import ServiceError
from device_app.service.models import Loaded
from device_app.service.page.users import is_other_user
from device_app.service.state import Client, Service, ServiceState
from editing.errors import BadInputError
from export.bundle import WEIGHTS

# Every request of the page has this header, with the name of a model. A page of another site cannot send it without
# a permission (CORS preflight) that the service never gives, so such a page cannot even start an action blindly.
HEADER = "X-Asr-Edge-Model"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Owner:
    """The person whose recordings and model a request is about.

    Attributes:
        service: the service.
        client: who asks, for the turns on the CPU.
        model: the name of the model; empty for the default.
        profile: the profile; empty for the main data folder.
    """

    service: ServiceState
    client: str
    model: str
    profile: str

    async def run(self, work: Callable[[], Result]) -> Result:
        """Runs work that waits for the disk, in a thread, with the data folder of the profile."""
        with in_profile(self.profile):
            return await run_in_threadpool(work)

    async def with_store(self, work: Callable[[Store], Result]) -> Result:
        """Runs work with the profile's store.

        Raises:
            StorageError: it cannot be opened.
        """

        def opened() -> Result:
            with Store() as store:
                return work(store)

        return await self.run(opened)

    def ledger(self) -> Ledger:
        """The ledger of the model; call it inside `run`.

        Raises:
            BadInputError: the model is an exported one, which cannot learn.
            StorageError: it is damaged.
        """
        bundle = find_bundle(self.service.models.base)
        if WEIGHTS not in bundle.files:
            raise BadInputError("this model was exported for use only: it cannot learn, and has no history")
        return Ledger(bundle)

    async def loaded(self) -> Loaded:
        """The model in memory, which is loaded if it is not there.

        Raises:
            AsrEdgeError: it cannot be loaded.
        """
        return await self.service.model(self.model)


async def owner_of(request: Request, service: Service, client: Client) -> Owner:
    """The owner whose model the header of a request names.

    Raises:
        ServiceError: the request does not come from the page, or comes from another user of this machine.
        UnknownModelError: there is no such profile.
    """
    sent = request.headers.get(HEADER)
    if sent is None:
        raise ServiceError(403, f"only the page may ask for this (header {HEADER})")
    if await run_in_threadpool(_is_of_other_user, request, client):
        raise ServiceError(403, "the page shows recordings only to the user who started it; start asr-edge yourself")
    model = unquote(sent)
    return Owner(service, client, model, await run_in_threadpool(service.models.profile_of, model))


def _is_of_other_user(request: Request, client: str) -> bool:
    """Whether another user of this machine asks, without a token, which would allow it."""
    peer, server = request.scope.get("client"), request.scope.get("server")
    if peer is None or server is None or client != ":".join(map(str, peer)):
        return False
    return is_other_user((peer[0], peer[1]), (server[0], server[1]))


Person = Annotated[Owner, Depends(owner_of)]  # the type of a route's parameter that receives the `Owner`
