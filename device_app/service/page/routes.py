"""What the service mounts for the page: routes, public paths, and paths whose bodies are recordings."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from device_app.service.page import assets, correcting, history, learning, recording, sign_in, transcribing, words
from device_app.service.page.owner import owner_of

API = "/page/api"
ACTIONS = (recording, correcting, learning, history, words, transcribing)

# Only the page asks for these, so they are no part of the described interface.
_api = APIRouter(prefix=API, dependencies=[Depends(owner_of)], include_in_schema=False)
for _module in ACTIONS:
    _api.include_router(_module.router)

ROUTERS: tuple[APIRouter, ...] = (assets.router, sign_in.router, _api)
PUBLIC = frozenset({"/", "/page/static/", "/page/sign-in"})
UPLOADS = frozenset({f"{API}/takes", f"{API}/takes/check", f"{API}/transcribe"})
