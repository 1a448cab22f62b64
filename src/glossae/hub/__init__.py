"""The Hugging Face Hub: repositories and their commits, files that arrive whole, and every refusal as one line."""

from glossae.hub.asking import asking, commit_of, download, quietly
from glossae.hub.repository import Repository

__all__ = [
    "Repository",
    "asking",
    "commit_of",
    "download",
    "quietly",
]
