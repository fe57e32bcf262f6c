"""A host over HTTP, as a device sees it: every call is tried again until the network is back."""

from __future__ import annotations

import hashlib
import json
import random
import ssl
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx2 as httpx

from device_app.remote.trusted_hosts import Host
from editing.errors import BadInputError, NetworkError
from editing.files import write_atomically

PATIENCE_S = 300.0  # without an answer, before we give up for now
LONGEST_PAUSE_S = 20.0
LATER = frozenset({429, 502, 503, 504})  # what says: not now
CHUNK = 256 << 10
MOST_VECTOR = 1 << 30
ENDED = frozenset({"done", "failed", "cancelled"})

Answer = TypeVar("Answer")


class HostClient:
    """Calls to one host.

    Attributes:
        host: which.
    """

    def __init__(
        self, host: Host, say: Callable[[str], None] = lambda _message: None, patience_s: float = PATIENCE_S
    ) -> None:
        """
        Args:
            host: trusted.
            say: is told when the network is away, and when it is back.
            patience_s: how long to try again without any answer.
        """
        self.host = host
        self._say, self._patience_s = say, patience_s
        headers = {"Authorization": f"Bearer {host.token}"} if host.token else {}
        self._http = httpx.Client(
            base_url=host.url,
            verify=host.tls() if host.url.startswith("https") else True,
            headers=headers,
            timeout=httpx.Timeout(30.0, connect=10.0),
            trust_env=False,  # a proxy would be another machine
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._http.close()

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        """A job for a training request; the same one again for the same key."""
        return self._record("POST", "/v1/jobs", json=request)

    def job(self, identity: str) -> dict[str, Any]:
        """Where a job is."""
        return self._record("GET", f"/v1/jobs/{identity}")

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs of this device."""
        found: list[dict[str, Any]] = self._record("GET", "/v1/jobs")["jobs"]
        return found

    def cancel(self, identity: str) -> None:
        """Ends a job, and removes what the host has of it. One that is gone already is none."""
        self._retrying(lambda: self._checked(self._http.delete(f"/v1/jobs/{identity}"), {404}))

    def upload(self, identity: str, path: Path, on_sent: Callable[[int], None]) -> dict[str, Any]:
        """Sends an archive, from where the host has it; goes on after a lost connection.

        Args:
            identity: of the job.
            path: the archive.
            on_sent: called with how many bytes the host has or is being sent.

        Raises:
            BadInputError: the host refuses it.
            NetworkError: the host cannot be reached.
        """
        size = path.stat().st_size

        def send() -> dict[str, Any]:
            job = _json(self._checked(self._http.get(f"/v1/jobs/{identity}")))
            if job["state"] != "uploading":
                return job
            start = min(int(job["received"]), size)
            answer = self._http.patch(
                f"/v1/jobs/{identity}/dataset",
                content=_chunks(path, start, on_sent),
                headers={"Upload-Offset": str(start), "Content-Type": "application/octet-stream"},
            )
            if answer.status_code == 409:  # the host has got more, or less, than it said
                raise httpx.ReadError("the host has another part of the archive")
            job = _json(self._checked(answer))
            if job["state"] == "uploading":
                raise httpx.ReadError("the upload was cut short")
            return job

        return self._retrying(send)

    def follow(self, identity: str) -> Iterator[dict[str, Any]]:
        """Yields where a job is, whenever that changes, until it has ended."""
        while True:
            try:
                with self._http.stream("GET", f"/v1/jobs/{identity}/events", timeout=60.0) as answer:
                    if answer.is_success:
                        for line in answer.iter_lines():
                            if line.startswith("data:"):
                                yield (job := json.loads(line.removeprefix("data:")))
                                if job["state"] in ENDED:
                                    return
            except httpx.TransportError:
                pass
            job = self.job(identity)  # tells what is wrong, or waits for the network
            yield job
            if job["state"] in ENDED:
                return
            time.sleep(1.0)

    def task_vector(self, identity: str, path: Path) -> str:
        """Fetches a job's task vector into a file; returns its SHA-256."""
        return self._file("GET", f"/v1/jobs/{identity}/task-vector", path)

    # Of a group of devices

    def contribute(self, group: str, vector: bytes) -> None:
        """Gives a task vector, as its file's bytes, to a group."""
        name = hashlib.sha256(vector).hexdigest()
        headers = {"Content-Type": "application/octet-stream"}
        self._record("PUT", f"/v1/groups/{_part(group)}/contributions/{name}", content=vector, headers=headers)

    def fleet(self, group: str, base: str) -> dict[str, Any]:
        """What the host says of a group's latest vector for a base: signed document, signature."""
        return self._record("GET", f"/v1/groups/{_part(group)}/vector/{base}")

    def fleet_vector(self, group: str, base: str, path: Path) -> str:
        """Fetches a group's latest vector for a base into a file; returns its SHA-256."""
        return self._file("GET", f"/v1/groups/{_part(group)}/vector/{base}/file", path)

    # Trying again

    def _record(self, method: str, url: str, **what: Any) -> dict[str, Any]:
        return self._retrying(lambda: _json(self._checked(self._http.request(method, url, **what))))

    def _file(self, method: str, url: str, path: Path) -> str:
        def fetch() -> str:
            data = bytearray()
            with self._http.stream(method, url) as answer:
                if not answer.is_success:
                    answer.read()
                self._checked(answer)
                for chunk in answer.iter_bytes():
                    data += chunk
                    if len(data) > MOST_VECTOR:
                        raise BadInputError(f"{self.host.url}: sends more than any task vector is; nothing was merged")
            write_atomically(path, bytes(data))
            return hashlib.sha256(data).hexdigest()

        return self._retrying(fetch)

    def _retrying(self, call: Callable[[], Answer]) -> Answer:
        """
        Raises:
            BadInputError: the host refuses, or is another.
            NetworkError: it has not answered for as long as our patience lasts.
        """
        since, attempt = time.monotonic(), 0
        while True:
            try:
                result = call()
                if attempt > 1:
                    self._say(f"{self.host.url} answers again.")
                return result
            except _LaterError as later:
                since = time.monotonic()  # it answers: it is only busy
                time.sleep(min(later.after_s, 60.0) * random.uniform(1.0, 1.5))  # noqa: S311
            except httpx.TransportError as error:
                if _is_of_another(error):
                    raise BadInputError(
                        f"{self.host.url}: has a certificate that is not of the authority this device trusts, or not "
                        f"for this name ({error}); nothing was sent. Its owner can renew it: 'asr-edge host init NAME'"
                    ) from error
                attempt += 1
                if time.monotonic() - since > self._patience_s:
                    raise NetworkError(
                        f"{self.host.url}: does not answer ({error}). What was begun there goes on: "
                        "'asr-edge jobs' shows it, 'asr-edge jobs attach' waits for it again"
                    ) from error
                if attempt == 2:
                    self._say(f"{self.host.url} does not answer ({error}); trying again ...")
                time.sleep(min(LONGEST_PAUSE_S, 0.5 * 2**attempt) * random.uniform(0.5, 1.0))  # noqa: S311

    def _checked(self, answer: httpx.Response, fine: Collection[int] = ()) -> httpx.Response:
        if answer.is_success or answer.status_code in fine:
            return answer
        if answer.status_code in LATER:
            raise _LaterError(answer)
        if answer.status_code == 401:
            raise BadInputError(
                f"{self.host.url}: does not know this device. Its owner makes a token ('asr-edge host token add'), "
                f"and 'asr-edge host trust {self.host.url} --token TOKEN' keeps it here"
            )
        raise BadInputError(f"{self.host.url}: {_reason(answer)}")


class _LaterError(Exception):
    """The host asks to come again."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(str(answer.status_code))
        try:
            self.after_s = max(0.1, float(answer.headers.get("Retry-After", "2")))
        except ValueError:
            self.after_s = 2.0


def _is_of_another(error: BaseException | None) -> bool:
    """Whether a connection failed because of the certificate."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _part(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")


def _reason(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
        return detail if isinstance(detail, str) else json.dumps(detail)[:300]
    except (ValueError, KeyError, TypeError):
        return f"answers {answer.status_code}"


def _json(answer: httpx.Response) -> dict[str, Any]:
    record = answer.json()
    if not isinstance(record, dict):
        raise BadInputError(f"{answer.url.host}: is not a host of asr-edge")
    return record


def _chunks(path: Path, start: int, on_sent: Callable[[int], None]) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        sent = start
        while chunk := file.read(CHUNK):
            yield chunk
            sent += len(chunk)
            on_sent(sent)


def identity(url: str) -> dict[str, Any]:
    """What a host says it is, before it is trusted: its signing key, and its authority if it has its own.

    The connection is not verified, as there is nothing yet to verify it by: what is read here is
    compared by people.

    Raises:
        NetworkError: it cannot be reached.
        BadInputError: it is no host of asr-edge.
    """
    try:
        answer = httpx.get(f"{url}/v1/identity", verify=False, timeout=10.0, trust_env=False)
        record = answer.json()
        if not isinstance(record["key"], str) or not isinstance(record["authority"], str | None):
            raise ValueError("not an identity")
    except httpx.TransportError as error:
        raise NetworkError(f"{url}: cannot be reached ({error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{url}: is not a host of asr-edge") from error
    return {"key": record["key"], "authority": record["authority"]}
