"""A stand-in for the Hugging Face hub: one model repository with commits, branches and small and large files."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = b"LFS:"
"""What begins so is stored as a large file, by its hash."""


def _oid(content):
    return hashlib.sha1(content).hexdigest()


@dataclass
class Hub:
    """Commits by hash (a hash is 40 digits), heads of branches, and what was asked for."""

    url: str = ""
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: dict[str, dict] = field(default_factory=dict)
    downloads: list[str] = field(default_factory=list)
    may_write: bool = True

    def commit(self, branch, files):
        """Put a commit on a branch."""
        name = hashlib.sha1(f"{branch} {len(self.commits)}".encode()).hexdigest()
        self.commits[name] = dict(files)
        self.branches[branch] = name
        return name

    def files(self, revision):
        """The files of a branch."""
        return self.commits[self.branches[revision]]

    def answer(self, method, path, body):
        """Status and content of an answer."""
        place = unquote(path.removeprefix("/api/models/o/m/"))
        if path.startswith("/o/m/resolve/"):
            revision, _, name = unquote(path.removeprefix("/o/m/resolve/")).partition("/")
            self.downloads.append(name)
            return 200, self._at(revision)[name]
        if method == "POST" and not self.may_write and not place.startswith("paths-info"):
            return 403, {"error": "You don't have the rights"}
        verb, _, rest = place.partition("/")
        do = getattr(self, f"_{verb.replace('-', '_')}", None)
        return (404, {"error": "not here"}) if do is None else do(rest, body)

    def _at(self, revision):
        return self.commits.get(self.branches.get(revision, revision), {})

    def _entry(self, path, content):
        entry = {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}
        if content.startswith(LARGE):
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
        return entry

    def _revision(self, revision, _):
        name = self.branches.get(revision, revision)
        if name not in self.commits:
            return 404, {"error": "Revision Not Found"}
        return 200, {"id": "o/m", "sha": name, "siblings": []}

    def _refs(self, *_):
        heads = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in self.branches.items()]
        return 200, {"branches": heads, "tags": [], "converts": []}

    def _tree(self, revision, _):
        folders = {"type": "directory", "path": "sub", "oid": "0" * 40, "size": 0}
        return 200, [folders, *(self._entry(*item) for item in self._at(revision).items())]

    def _paths_info(self, revision, body):
        values = parse_qs(body.decode())
        wanted = values["paths"] if "paths" in values else json.loads(body)["paths"]
        files = self._at(revision)
        return 200, [self._entry(path, files[path]) for path in wanted if path in files]

    def _branch(self, name, body):
        self.branches[name] = json.loads(body)["startingPoint"]
        return 200, {}

    def _commit(self, branch, body):
        lines = [json.loads(line) for line in body.decode().splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit") != self.branches[branch]:
            return 412, {"error": "A commit has happened since"}
        files = dict(self.files(branch))
        large = {hashlib.sha256(c).hexdigest(): c for found in self.commits.values() for c in found.values()}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        name = self.commit(branch, files)
        self.messages[name] = header
        return 200, {"success": True, "commitOid": name, "commitUrl": f"{self.url}/o/m/commit/{name}"}


@contextmanager
def hub_server():
    """Serve until the block ends."""
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _do(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if re.search("chunked", self.headers.get("Transfer-Encoding") or ""):
                body = b"".join(self._chunks())
            status, found = state.answer(self.command, urlsplit(self.path).path, body)
            sent = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def _chunks(self):
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        do_GET = do_POST = do_HEAD = _do  # noqa: N815 - names of the standard library

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
