"""A branch of a repository on the Hugging Face hub, moved to the files that passed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from harness.errors import EndpointError, UsageError

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationCopy, CommitOperationDelete, HfApi

_TARGET = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?::(?P<revision>[^@:]+))?@(?P<branch>[^@:\s]+)")


@dataclass(frozen=True)
class HubBranch:
    """A branch, and the revision whose files it shall have.

    Parameters
    ----------
    repository : str
        ``OWNER/NAME`` of a model.
    branch : str
        The branch ("production").
    revision : str
        Branch, tag or commit that was gated.
    """

    repository: str
    branch: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read OWNER/NAME[:REVISION]@BRANCH."""
        found = _TARGET.fullmatch(text)
        if found is None:
            raise UsageError(
                f"--on-pass hub:{text}", "hub:OWNER/NAME[:REVISION]@BRANCH", "for example hub:me/chat-model@production"
            )
        target = cls(found["repository"], found["branch"], found["revision"] or "main")
        if target.branch == target.revision:
            raise UsageError(f"--on-pass hub:{text}", "a branch other than the revision")
        return target

    def check(self) -> None:
        """Nothing to check: huggingface-hub is always installed."""

    def promote(self, facts: Mapping[str, str]) -> str:
        """Give the branch the files of the revision, in one commit.

        A branch that does not exist is created at the revision. The hub has no way to move a branch, so that an
        existing one gets a commit with copies on the server; its history stays, and nothing is downloaded but small
        files.

        Raises
        ------
        EndpointError
            The hub cannot be reached or refuses, or the branch got another commit meanwhile.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError

        try:
            return self._promoted(HfApi(), facts)
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise EndpointError(
                f"the hub: {' '.join(str(error).split())[:300]}",
                f"write access to {self.repository}",
                "check HF_TOKEN, HF_ENDPOINT, the repository and the revision",
            ) from error

    def _promoted(self, api: HfApi, facts: Mapping[str, str]) -> str:
        commit = str(api.model_info(self.repository, revision=self.revision).sha)
        heads = {ref.name: ref.target_commit for ref in api.list_repo_refs(self.repository).branches}
        short = f"commit {commit[:12]} of {self.repository}"
        if self.branch not in heads:
            api.create_branch(self.repository, branch=self.branch, revision=commit)
            return f"branch {self.branch} was created at {short}"
        operations = list(_changes(_files(api, self.repository, heads[self.branch]), api, self.repository, commit))
        if not operations:
            return f"branch {self.branch} already has the files of {short}"
        api.create_commit(
            self.repository,
            operations,
            commit_message=f"Promote {commit[:12]}: the gate's decision is {facts['decision']}",
            commit_description="\n".join(f"{name}: {value}" for name, value in facts.items()),
            revision=self.branch,
            parent_commit=heads[self.branch],
        )
        return f"branch {self.branch} has the files of {short}"


def _files(api: HfApi, repository: str, commit: str) -> dict[str, str]:
    """The hash of each file of a commit."""
    from huggingface_hub.hf_api import RepoFile

    entries = api.list_repo_tree(repository, recursive=True, revision=commit)
    return {entry.path: entry.blob_id for entry in entries if isinstance(entry, RepoFile)}


def _changes(
    present: Mapping[str, str], api: HfApi, repository: str, commit: str
) -> Iterable[CommitOperationCopy | CommitOperationDelete]:
    from huggingface_hub import CommitOperationCopy, CommitOperationDelete

    wanted = _files(api, repository, commit)
    for path, blob in wanted.items():
        if present.get(path) != blob:
            yield CommitOperationCopy(src_path_in_repo=path, path_in_repo=path, src_revision=commit)
    for path in present.keys() - wanted.keys():
        yield CommitOperationDelete(path_in_repo=path)
