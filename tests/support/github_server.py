"""A stand-in for GitHub's REST interface: the comments of one pull request."""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TOKEN = "ghs_secret"


@dataclass
class GitHub:
    """The comments, the requests, and whether the token may write."""

    url: str = ""
    comments: list[dict] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    may_write: bool = True
    foreign: set[int] = field(default_factory=set)

    def answer(self, method, path, body, token):
        """Status and JSON of an answer."""
        self.requests.append(f"{method} {path}")
        if token != f"Bearer {TOKEN}":
            return 401, {"message": "Bad credentials"}
        parts = urlsplit(path)
        if method == "GET" and parts.path == "/repos/o/r/issues/7/comments":
            query = {name: int(values[0]) for name, values in parse_qs(parts.query).items()}
            start = query["per_page"] * (query["page"] - 1)
            return 200, self.comments[start : start + query["per_page"]]
        changed = re.fullmatch(r"/repos/o/r/issues/comments/(\d+)", parts.path)
        if method == "POST" and parts.path == "/repos/o/r/issues/7/comments" and self.may_write:
            self.comments.append({"id": len(self.comments) + 1, "body": body["body"], "html_url": f"{self.url}/c"})
            return 201, self.comments[-1]
        if method == "PATCH" and changed and self.may_write:
            number = int(changed[1])
            if number in self.foreign:
                return 403, {"message": "Must have admin rights to Repository."}
            comment = next(comment for comment in self.comments if comment["id"] == number)
            comment["body"] = body["body"]
            return 200, comment
        return (403, {"message": "Resource not accessible by integration"}) if not self.may_write else (404, {})


@contextmanager
def github_server():
    """Serve until the block ends."""
    state = GitHub()

    class Handler(BaseHTTPRequestHandler):
        def _do(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, found = state.answer(self.command, self.path, body, self.headers.get("Authorization"))
            sent = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PATCH = _do  # noqa: N815 - names of the standard library

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
