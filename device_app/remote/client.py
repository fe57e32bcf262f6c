"""The HTTP client of a host. It retries each call while the host is busy or the network is down."""

from __future__ import annotations

import hashlib
import json
import math
import random
import ssl
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx2 as httpx

from device_app.remote.trusted_hosts import Host
from editing.errors import BadInputError, NetworkError
from editing.files import write_atomically
from editing.json_text import JSONTextError, parse_json

RETRY_S = 300.0  # gives up after this time without an answer
MAX_PAUSE_S = 20.0  # the longest time between two attempts to reach a host
MAX_BUSY_PAUSE_S = 60.0  # the longest time between two requests to a host that is busy, whatever it asks for
RETRYABLE = frozenset({429, 502, 503, 504})  # status codes of a host that is busy
CHUNK = 256 << 10  # bytes of an upload between two calls of `on_sent`
MAX_VECTOR_BYTES = 1 << 30
ENDED = frozenset({"done", "failed", "cancelled"})  # states of a job that do not change any more

Result = TypeVar("Result")


class HostClient:
    """A client of one host. Its methods return the host's JSON objects as they are.

    All of them raise BadInputError if the host refuses the request, is not a host of asr-edge or has a certificate
    that is not trusted, and NetworkError if it has not answered for `retry_s`.

    Attributes:
        host: the host.
    """

    def __init__(
        self, host: Host, report: Callable[[str], None] = lambda _message: None, retry_s: float = RETRY_S
    ) -> None:
        """
        Args:
            host: a trusted host.
            report: receives a message when the host stops and starts answering.
            retry_s: how many seconds to retry without an answer.
        """
        self.host = host
        self._report, self._retry_s = report, retry_s
        self._progress_at = -math.inf  # when bytes crossed the network that had not before
        headers = {"Authorization": f"Bearer {host.token}"} if host.token else {}
        self._http = httpx.Client(
            base_url=host.url,
            verify=host.tls() if host.url.startswith("https") else True,
            headers=headers,
            timeout=httpx.Timeout(30.0, connect=10.0),
            trust_env=False,  # a proxy could read the data
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._http.close()

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        """Creates a job for a training request; the same key gives the same job again."""
        return self._record("POST", "/v1/jobs", json=request)

    def job(self, identity: str) -> dict[str, Any]:
        """The state of a job."""
        return self._record("GET", f"/v1/jobs/{identity}")

    def jobs(self) -> list[dict[str, Any]]:
        """The states of all jobs of this device."""
        found: list[dict[str, Any]] = self._record("GET", "/v1/jobs")["jobs"]
        return found

    def cancel(self, identity: str) -> None:
        """Cancels a job and removes its data from the host. Does nothing if the job no longer exists."""
        self._retrying(lambda: self._checked(self._http.delete(f"/v1/jobs/{identity}"), {404}))

    def upload(self, identity: str, path: Path, on_sent: Callable[[int], None]) -> dict[str, Any]:
        """Uploads an archive; resumes a partial upload, also after a lost connection.

        Args:
            identity: the identity of the job.
            path: the archive.
            on_sent: called with the number of bytes uploaded so far.

        Raises:
            BadInputError: the host refuses it.
            NetworkError: the host cannot be reached.
        """
        size = path.stat().st_size
        note_progress = self._progress()

        def on_chunk(total: int) -> None:
            note_progress(total)
            on_sent(total)

        def send() -> dict[str, Any]:
            job = _json(self._checked(self._http.get(f"/v1/jobs/{identity}")))
            if job["state"] != "uploading":
                return job
            start = min(int(job["received"]), size)
            answer = self._http.patch(
                f"/v1/jobs/{identity}/dataset",
                content=_chunks(path, start, on_chunk),
                headers={"Upload-Offset": str(start), "Content-Type": "application/octet-stream"},
            )
            if answer.status_code == 409:  # the host has received more or less than it reported
                raise httpx.ReadError("the host expects another part of the archive")
            job = _json(self._checked(answer))
            if job["state"] == "uploading":
                raise httpx.ReadError("the upload was interrupted")
            return job

        return self._retrying(send)

    def follow(self, identity: str) -> Iterator[dict[str, Any]]:
        """Yields the state of a job whenever it changes, until the job has ended (`ENDED`)."""
        while True:
            try:
                with self._http.stream("GET", f"/v1/jobs/{identity}/events", timeout=60.0) as answer:
                    if answer.is_success:
                        for line in answer.iter_lines():
                            if line.startswith("data:"):
                                yield (job := _object(line.removeprefix("data:"), answer.url.host))
                                if job["state"] in ENDED:
                                    return
            except httpx.TransportError:
                pass
            job = self.job(identity)  # raises the cause of the failure, or retries until the network is back
            yield job
            if job["state"] in ENDED:
                return
            time.sleep(1.0)

    def task_vector(self, identity: str, path: Path) -> str:
        """Downloads the task vector of a job to a file; returns its SHA-256."""
        return self._file("GET", f"/v1/jobs/{identity}/task-vector", path)

    # Of a group of devices

    def contribute(self, group: str, vector: bytes) -> None:
        """Uploads the file of a task vector to a group."""
        name = hashlib.sha256(vector).hexdigest()
        headers = {"Content-Type": "application/octet-stream"}
        self._record("PUT", f"/v1/groups/{_path_segment(group)}/contributions/{name}", content=vector, headers=headers)

    def fleet(self, group: str, base: str) -> dict[str, Any]:
        """The signed document about the latest vector of a group for a base, and its signature."""
        return self._record("GET", f"/v1/groups/{_path_segment(group)}/vector/{base}")

    def fleet_vector(self, group: str, base: str, path: Path) -> str:
        """Downloads the latest vector of a group for a base to a file; returns its SHA-256."""
        return self._file("GET", f"/v1/groups/{_path_segment(group)}/vector/{base}/file", path)

    # Retrying

    def _record(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        """The JSON object that the host answers to a request; `options` are those of `httpx.Client.request`."""
        return self._retrying(lambda: _json(self._checked(self._http.request(method, url, **options))))

    def _file(self, method: str, url: str, path: Path) -> str:
        """Writes the content of an answer to a file; returns its SHA-256."""

        note_progress = self._progress()

        def fetch() -> str:
            data = bytearray()
            with self._http.stream(method, url) as answer:
                if not answer.is_success:
                    answer.read()
                self._checked(answer)
                for chunk in answer.iter_bytes():
                    data += chunk
                    note_progress(len(data))
                    if len(data) > MAX_VECTOR_BYTES:
                        raise BadInputError(f"{self.host.url}: sends too much for a task vector; nothing was merged")
            write_atomically(path, bytes(data))
            return hashlib.sha256(data).hexdigest()

        return self._retrying(fetch)

    def _progress(self) -> Callable[[int], None]:
        """A function to call with the bytes of a file that were transferred so far, also after it begins again.

        A transfer over a slow link takes longer than `retry_s`. When its connection is lost, it must be tried again.
        """
        farthest = 0

        def note(total: int) -> None:
            nonlocal farthest
            if total > farthest:  # the same bytes again are no progress: such a transfer might never end
                farthest, self._progress_at = total, time.monotonic()

        return note

    def _retrying(self, call: Callable[[], Result]) -> Result:
        """Calls the host, and retries while it is busy or cannot be reached.

        Raises:
            BadInputError: the host refuses, or its certificate is not trusted.
            NetworkError: the host has not answered, and no part of a file was transferred, for `retry_s`.
        """
        since, attempt = time.monotonic(), 0
        while True:
            try:
                result = call()
                if attempt > 1:
                    self._report(f"{self.host.url} answers again.")
                return result
            except _BusyError as later:
                since = time.monotonic()  # the host answers, so it is only busy
                time.sleep(min(later.after_s, MAX_BUSY_PAUSE_S) * random.uniform(1.0, 1.5))  # noqa: S311
            except httpx.TransportError as error:
                if _is_certificate_error(error):
                    raise BadInputError(
                        f"{self.host.url}: its certificate is not signed by the authority that this device trusts, or "
                        f"not for this name ({error}); nothing was sent. Its owner can renew it: 'asr-edge host init "
                        "NAME'"
                    ) from error
                attempt += 1
                if time.monotonic() - max(since, self._progress_at) > self._retry_s:
                    raise NetworkError(
                        f"{self.host.url}: does not answer ({error}). A job that was started there continues: "
                        "'asr-edge jobs' shows it, 'asr-edge jobs attach' waits for it"
                    ) from error
                if attempt == 2:
                    self._report(f"{self.host.url} does not answer ({error}); trying again ...")
                time.sleep(min(MAX_PAUSE_S, 0.5 * 2**attempt) * random.uniform(0.5, 1.0))  # noqa: S311

    def _checked(self, answer: httpx.Response, accepted: Collection[int] = ()) -> httpx.Response:
        """Returns an answer that is a success or has an accepted status code, and raises the error of any other."""
        if answer.is_success or answer.status_code in accepted:
            return answer
        if answer.status_code in RETRYABLE:
            raise _BusyError(answer)
        if answer.status_code == 401:
            raise BadInputError(
                f"{self.host.url}: does not know this device. Its owner makes a token ('asr-edge host token add'), "
                f"and 'asr-edge host trust {self.host.url} --token TOKEN' saves it here"
            )
        raise BadInputError(f"{self.host.url}: {_error_detail(answer)}")


class _BusyError(Exception):
    """The host is busy; `after_s` is the time to wait before the next attempt."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(str(answer.status_code))
        try:
            self.after_s = max(0.1, float(answer.headers.get("Retry-After", "2")))
        except ValueError:
            self.after_s = 2.0


def _is_certificate_error(error: BaseException | None) -> bool:
    """Whether a connection failed because of the certificate."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _path_segment(name: str) -> str:
    """Quotes a name for use as one segment of a URL path."""
    return quote(name, safe="")


def _error_detail(answer: httpx.Response) -> str:
    try:
        detail = parse_json(answer.content)["detail"]
        return detail if isinstance(detail, str) else json.dumps(detail)[:300]
    except (ValueError, KeyError, TypeError):
        return f"answers {answer.status_code}"


def _json(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        BadInputError: it is something else, such as a page of another server.
    """
    return _object(answer.content, answer.url.host)


def _object(text: str | bytes, server: str) -> dict[str, Any]:
    """The JSON object that a server has sent.

    Raises:
        BadInputError: it is something else.
    """
    with suppress(JSONTextError):
        record = parse_json(text)
        if isinstance(record, dict):
            return record
    raise BadInputError(f"{server}: is not a host of asr-edge")


def _chunks(path: Path, start: int, on_sent: Callable[[int], None]) -> Iterator[bytes]:
    """Yields a file from a byte on; calls `on_sent` with the bytes of the whole file that were sent so far."""
    with path.open("rb") as file:
        file.seek(start)
        sent = start
        while chunk := file.read(CHUNK):
            yield chunk
            sent += len(chunk)
            on_sent(sent)


def identity(url: str) -> dict[str, Any]:
    """Reads the signing key of a host that is not trusted yet, and its certificate authority if it has its own.

    The connection is not verified, because nothing is known yet to verify it with. People compare the
    fingerprint instead.

    Returns:
        "key" and "authority", as `Host.key` and `Host.authority`.

    Raises:
        NetworkError: the host cannot be reached.
        BadInputError: it is not a host of asr-edge.
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
