"""A streamed response that owns what the request has opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class OwningStream(StreamingResponse):
    """A streamed response that closes `resources` when it ends, also if the client has left."""

    def __init__(self, content: AsyncIterator[str], media_type: str, resources: AsyncExitStack) -> None:
        """
        Args:
            content: the text of the body, piece by piece.
            media_type: the media type of the body.
            resources: what the content needs, such as the uploaded file and the place of the job.
        """
        super().__init__(content, headers={"Cache-Control": "no-store"}, media_type=media_type)
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._resources:
            await super().__call__(scope, receive, send)
