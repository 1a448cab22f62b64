"""The Hugging Face Hub: repositories and their commits, files that arrive whole, and every refusal as one line."""

from sprog.hub.asking import asking, commit_of, download, quietly
from sprog.hub.repository import Repository

__all__ = ["Repository", "asking", "commit_of", "download", "quietly"]
