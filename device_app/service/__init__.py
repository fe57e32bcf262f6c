"""The local service: programs on this machine send audio and get text (extra `serve`).

`server.serve` listens on the sockets and runs uvicorn. `app.make_app` is the ASGI application. From the outside in:

    http.connections.TrackRequests   limits open connections
    security.Guard                   Host, Origin, token; notes the client's name
    http.bodies.LimitBodies          limits the size and the pauses of request bodies
    the routers in `app.ROUTERS`     one module or folder each

To add routes: make an `APIRouter` in a module of your own and add it to `app.ROUTERS`. A route gets what it needs by
its parameters:

    from device_app.service.state import Client, Service

    @router.post("/page/transcribe")
    async def transcribe(service: Service, client: Client) -> Answer:
        loaded = await service.model("asr-edge:anna")      # loads the active version if it is not in memory
        with service.job(client) as job:                    # BusyError, which is answered with 503 or 429, if full
            text = await job.run(lambda: loaded.transcriber.transcribe(audio, 16_000).text)

- Whatever takes CPU time runs by `job.run`, in steps of at most a second, so that clients take turns.
- What only waits for the disk runs by `starlette.concurrency.run_in_threadpool`. For the data of a profile, call it
  inside `device_app.paths.in_profile(loaded.profile)`; the context is copied into the thread.
- Raise `AsrEdgeError` or `errors.ServiceError`; both become responses in the shape of OpenAI's errors.
- `Guard` has checked the Host, the Origin and the token before a route is called, for WebSockets too. A page that must
  be readable without a token (to enter one) adds its paths to `app.PUBLIC`; the browser then sends the token in the
  cookie `security.COOKIE` (HttpOnly, SameSite=Strict, Secure).
- A route whose bodies may be larger than `Limits.body_bytes` adds its path to `app.UPLOADS`.
- Nothing outside this folder imports FastAPI, Starlette or uvicorn, except `trainer.host`.
"""
