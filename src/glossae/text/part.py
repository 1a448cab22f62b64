"""What has come of a file that is being fetched, and what the whole is known by."""

import json
import re
import shutil
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from glossae.errors import GlossaeError
from glossae.files import write_json
from glossae.text.lines import named


class Part:
    """What has come of a file, and what is known about the whole.

    Attributes:
        path: the bytes that have come, from the first on.
        url: where they come from.
    """

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url
        self._about = path.with_name(f"{path.name}.json")
        self._known = self._read()

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._about.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) and known.get("url") == self.url else {}

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def whole(self) -> int | None:
        """Bytes of the whole file, where the server said so."""
        whole = self._known.get("bytes")
        return whole if isinstance(whole, int) else None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is lacking."""
        return self.whole is not None and self.size == self.whole

    def request(self) -> dict[str, str]:
        """The headers that ask for the rest; none where only the whole can be asked for."""
        validator = self._known.get("etag") or self._known.get("modified")
        if self.size and isinstance(validator, str):
            return {"Range": f"bytes={self.size}-", "If-Range": validator}
        return {}

    def goes_on_with(self, response: HTTPResponse) -> bool:
        """Whether a 206 continues these bytes of this very file."""
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if said is None or int(said[1]) != self.size:
            return False
        same_size = said[2] == "*" or self.whole in (None, int(said[2]))
        return same_size and _validators(response).items() <= self._known.items()

    def begin(self, response: HTTPResponse, whole: int | None) -> None:
        """Forget what came before: this response has the file from the start, `whole` bytes of it.

        Raises:
            GlossaeError: the disk has no room for it.
        """
        self.drop()
        free = shutil.disk_usage(self.path.parent).free
        if whole is not None and whole > free:
            raise GlossaeError(
                f"{self.url}: has {whole:,} bytes, and {named(self.path.parent)} has {free:,} free: make room, or set "
                f"GLOSSAE_CACHE to a folder on a larger disk"
            )
        self._known = {"url": self.url, "bytes": whole, **_validators(response)}
        write_json(self._about, self._known)

    def drop(self) -> None:
        """Forget what has come."""
        self._known = {}
        self.path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)


def _validators(response: HTTPResponse) -> dict[str, str]:
    """What a file is known again by: a strong ETag, or when it was changed."""
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    found = {}
    # a weak one may stand for other bytes, and RFC 9110 forbids it in If-Range
    if etag and not etag.startswith("W/"):
        found["etag"] = etag
    if modified:
        found["modified"] = modified
    return found
