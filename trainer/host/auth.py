"""Authenticates devices by their tokens and limits how often they may ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi import Path as PathParameter
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from device_app.remote.signatures import Signer
from trainer.host.database import Device, Job
from trainer.host.jobs import Jobs

LATER_S = 5
BAD_TOKENS_PER_MINUTE = 20  # of one address

Identity = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{32}$", description="A job's.")]
Name = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Of a group of devices.")]


@dataclass
class Hosting:
    """What every request may need.

    Attributes:
        jobs: of the host, with its database and limits.
        signer: whose identity is shown.
        folder: the host's.
        is_open: whether who comes without a token is let in: only where no other machine can reach it.
        uploading: jobs whose dataset is coming in.
    """

    jobs: Jobs
    signer: Signer
    folder: Path
    is_open: bool
    uploading: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._rate = MovingWindowRateLimiter(MemoryStorage())
        self._of_device = RateLimitItemPerMinute(self.jobs.limits.requests_per_minute)
        self._of_strangers = RateLimitItemPerMinute(BAD_TOKENS_PER_MINUTE)

    def device(self, address: str, token: str | None) -> Device:
        """Whose token this is.

        Args:
            address: that the request comes from.
            token: None where there is no Authorization header.

        Raises:
            HTTPException: 401, it is nobody's; 429, requests or wrong tokens come too often.
        """
        database = self.jobs.database
        device: Device | None = None
        if token is None and self.is_open:
            device = database.local_device()
        elif not self._rate.test(self._of_strangers, address):
            raise later(429, "too many wrong tokens came from this address")
        elif token:
            device = database.device_of(token)
        if device is None:
            self._rate.hit(self._of_strangers, address)
            raise HTTPException(401, "a token of this host is needed", {"WWW-Authenticate": "Bearer"})
        if not self._rate.hit(self._of_device, str(device.id)):
            raise later(429, "too many requests; come again later")
        return device


def later(status: int, why: str) -> HTTPException:
    """An answer that asks to come again."""
    return HTTPException(status, why, {"Retry-After": str(LATER_S)})


def _hosting(request: Request) -> Hosting:
    found: Hosting = request.app.state.hosting
    return found


Host = Annotated[Hosting, Depends(_hosting)]


def _who(
    request: Request,
    host: Host,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> Device:
    address = request.client.host if request.client else ""
    if "authorization" not in request.headers:
        return host.device(address, None)
    return host.device(address, credentials.credentials if credentials else "")


Who = Annotated[Device, Depends(_who)]


def _own_job(identity: Identity, device: Who, host: Host) -> Job:
    job = host.jobs.database.job(identity, device.id)
    if job is None:
        raise HTTPException(404, "there is no such job of this device")
    return job


OwnJob = Annotated[Job, Depends(_own_job)]


def _member(group: Name, device: Who) -> str:
    if device.fleet != group:
        raise HTTPException(404, "this device is in no such group")
    return group


Group = Annotated[str, Depends(_member)]
