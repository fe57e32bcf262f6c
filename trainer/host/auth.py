"""Authenticates devices by their tokens and limits their request rate."""

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

RETRY_AFTER_S = 5  # that a client waits after "too many" or "not now"
BAD_TOKENS_PER_MINUTE = 20  # per address
FORWARDED = ("forwarded", "x-forwarded-for", "via")  # headers of a proxy, behind which another machine may be

Identity = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{32}$", description="A job's id.")]
Name = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="The name of a group of devices.")]


@dataclass
class HostState:
    """The state that all requests share.

    Attributes:
        jobs: the host's jobs, with its database and limits.
        signer: the host's keys.
        folder: the host's folder.
        allows_anonymous: whether requests without a token are accepted; only for a host that no other machine can
            reach.
        uploading: the names of uploads in progress: a job's id, or "contribution of" and a device's id. To remove a
            name ends its upload.
    """

    jobs: Jobs
    signer: Signer
    folder: Path
    allows_anonymous: bool
    uploading: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._device_limit = RateLimitItemPerMinute(self.jobs.limits.requests_per_minute)
        self._bad_token_limit = RateLimitItemPerMinute(BAD_TOKENS_PER_MINUTE)

    def device(self, address: str, token: str | None) -> Device:
        """Finds the device with a token.

        Args:
            address: the client's address.
            token: None if the request has no Authorization header.

        Raises:
            HTTPException: 401 if no device has the token; 429 for too many requests or wrong tokens.
        """
        database = self.jobs.database
        device: Device | None = None
        if token is None and self.allows_anonymous:
            device = database.local_device()
        elif token:  # before the limit on wrong tokens: devices behind one address must not lock each other out
            device = database.device_with_token(token)
        if device is None:
            if not self._limiter.hit(self._bad_token_limit, address):
                raise retry_later(429, "too many wrong tokens from this address")
            raise HTTPException(401, "this host requires a token", {"WWW-Authenticate": "Bearer"})
        if not self._limiter.hit(self._device_limit, str(device.id)):
            raise retry_later(429, "too many requests; try again later")
        return device


def retry_later(status: int, reason: str) -> HTTPException:
    """An error response that asks the client to retry later."""
    return HTTPException(status, reason, {"Retry-After": str(RETRY_AFTER_S)})


async def _host_state(request: Request) -> HostState:  # async: a plain function would occupy a thread of the pool
    found: HostState = request.app.state.host_state
    return found


Host = Annotated[HostState, Depends(_host_state)]


def _calling_device(
    request: Request,
    host: Host,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> Device:
    address = request.client.host if request.client else ""
    if "authorization" not in request.headers and not any(name in request.headers for name in FORWARDED):
        return host.device(address, None)
    return host.device(address, credentials.credentials if credentials else "")


CallingDevice = Annotated[Device, Depends(_calling_device)]


def _own_job(identity: Identity, device: CallingDevice, host: Host) -> Job:
    job = host.jobs.database.job(identity, device.id)
    if job is None:
        raise HTTPException(404, "this device has no such job")
    return job


OwnJob = Annotated[Job, Depends(_own_job)]


async def _member(group: Name, device: CallingDevice) -> str:
    if device.fleet != group:
        raise HTTPException(404, "this device is not in that group")
    return group


Group = Annotated[str, Depends(_member)]
