"""A server with the part of the Hugging Face hub's API that its client needs to download one repository."""

import json
import threading
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(folder, repository):
    """Serves the files of a folder; yields the server's address and the list of requested paths."""
    requested = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder, repository, requested))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requested
    finally:
        server.shutdown()
        server.server_close()


class Hub(BaseHTTPRequestHandler):
    def __init__(self, folder, repository, requested, *arguments):
        self.folder, self.repository, self.requested = folder, repository, requested
        super().__init__(*arguments)

    def do_GET(self):
        self.requested.append(self.path)
        if self.path.startswith(f"/api/models/{self.repository}/tree/"):
            files = [
                {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0" * 40}
                for p in sorted(self.folder.iterdir())
            ]
            return self.answer(json.dumps(files).encode())
        if self.path.startswith(f"/api/models/{self.repository}"):
            names = [{"rfilename": p.name} for p in sorted(self.folder.iterdir())]
            record = {"id": self.repository, "_id": "0", "sha": COMMIT, "siblings": names, "private": False}
            return self.answer(json.dumps({**record, "tags": [], "downloads": 0, "likes": 0}).encode())
        path = self.folder / self.path.rpartition("/")[2]
        if self.path.startswith(f"/{self.repository}/resolve/") and path.is_file():
            return self.answer(path.read_bytes(), ETag=f'"{path.name}"')
        return self.send_error(404)

    do_HEAD = do_GET  # noqa: N815

    def answer(self, data, **headers):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", COMMIT)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *arguments):
        pass
