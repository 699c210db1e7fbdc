"""One comment on a pull request, created once and updated afterwards (GitHub's REST interface, version 2022-11-28)."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from harness.errors import AuthenticationError, EndpointError, UsageError

_TIMEOUT_S = 30.0
_PER_PAGE = 100
_NOT_OURS = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


@dataclass(frozen=True)
class PullRequest:
    """A pull request, or an issue.

    Parameters
    ----------
    repository : str
        ``OWNER/NAME``.
    number : int
        Its number.
    api_url : str
        Address of the REST interface.
    token : str
        With the permission ``pull-requests: write``.

    Raises
    ------
    UsageError
        The repository's name has another form, or the number is not positive.
    """

    repository: str
    number: int
    api_url: str
    token: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repository):
            raise UsageError(f"repository {self.repository!r}", "OWNER/NAME")
        if self.number < 1:
            raise UsageError(f"pull request {self.number}", "its number, 1 or more")

    def stick(self, text: str, marker: str) -> str:
        """Update the comment that begins with a marker, or create it.

        Parameters
        ----------
        text : str
            The comment, which begins with `marker`.
        marker : str
            A hidden line.

        Returns
        -------
        str
            The comment's address.

        Raises
        ------
        AuthenticationError
            The token may not write comments.
        EndpointError
            GitHub cannot be reached, or answers with another error.
        """
        for comment in self._comments():
            if str(comment.get("body") or "").startswith(marker):
                try:
                    return self._write("PATCH", f"issues/comments/{int(comment['id'])}", text)
                except _RefusedError as error:
                    if error.status not in _NOT_OURS:
                        raise  # else someone else's comment with our marker, or one that is gone: not the one to update
        return self._write("POST", f"issues/{self.number}/comments", text)

    def _comments(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page = 1
        while True:
            address = f"issues/{self.number}/comments?per_page={_PER_PAGE}&page={page}"
            comments = self._ask("GET", address, None)
            found += comments
            if len(comments) < _PER_PAGE:
                return found
            page += 1

    def _write(self, method: str, path: str, text: str) -> str:
        return str(self._ask(method, path, {"body": text}).get("html_url", ""))

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "assay",
        }
        address = f"{self.api_url.rstrip('/')}/repos/{self.repository}/{path}"
        sent = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, sent, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise _refused(error, f"{method} {address}") from error
        except (OSError, ValueError) as error:
            raise EndpointError(
                f"{method} {address}: {error}", "an answer of GitHub's REST interface", "check GITHUB_API_URL"
            ) from error


class _RefusedError(EndpointError):
    """An answer with an error status."""

    status = 0


class _MayNotError(_RefusedError, AuthenticationError):
    """The token is not valid, or may not do this."""


def _refused(error: urllib.error.HTTPError, request: str) -> _RefusedError:
    text = " ".join(error.read(500).decode("utf-8", "replace").split())
    may_not = error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    kind = _MayNotError if may_not else _RefusedError
    remedy = (
        "give the job `permissions: {pull-requests: write}`; a pull request from a fork has a token that only reads"
    )
    found = kind(
        f"{request}: status {error.code}, {text}", "success", remedy if may_not else "check repository and number"
    )
    found.status = error.code
    return found
