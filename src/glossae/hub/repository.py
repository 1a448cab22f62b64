"""A repository on the hub at a revision, and what this machine's cache knows of it."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from glossae.errors import GlossaeError

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Repository:
    """A repository on the hub at a revision.

    Attributes:
        name: `OWNER/NAME`; some old ones have no owner.
        revision: a branch, tag or commit; None for the main branch.
        kind: in the hub client's words.
    """

    name: str
    revision: str | None = None
    kind: Literal["model", "dataset"] = "model"

    @staticmethod
    def parse(text: str, kind: Literal["model", "dataset"] = "model") -> "Repository":
        """What `NAME` or `NAME@REVISION` names. Nothing is asked or fetched.

        Raises:
            GlossaeError: it is no name that a repository can have, or its revision is empty; the message
                begins with the fault.
        """
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        name, at, revision = text.partition("@")
        if at and not revision:
            raise GlossaeError(
                "there is no revision after the @: write a branch, a tag or a commit, or leave it out"
            )
        # the client would make a path in its cache of it
        if ".." in revision or not revision.isprintable() or revision.startswith("/"):
            raise GlossaeError(f"{revision!r} is no revision that a repository can have")
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            raise GlossaeError(
                f"{name!r} is no name that a repository on the hub can have: write OWNER/NAME"
            ) from error
        return Repository(name, revision or None, kind)

    def at(self, commit: str) -> "Repository":
        """The same repository, pinned to a commit."""
        return replace(self, revision=commit)

    @property
    def page(self) -> str:
        """The address of its page."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    @property
    def folder(self) -> Path:
        """Where the hub client caches it; whether it does is another matter."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=self.name, repo_type=self.kind)

    @property
    def known_commit(self) -> str | None:
        """The commit that the revision was when it was last asked for; None if it never was. No network."""
        revision = self.revision or "main"
        if _COMMIT.fullmatch(revision):
            return revision
        try:
            commit = (self.folder / "refs" / revision).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return commit or None
