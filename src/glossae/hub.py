"""The Hugging Face Hub: repositories and commits, checked downloads, pushes, and every refusal as one line."""

import difflib
import errno
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urljoin, urlsplit

from glossae.environment import offline
from glossae.errors import GlossaeError, expect
from glossae.files import file_sha256, nearest_there, path_given

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256_DIGITS = 64
# above every level that the client logs at
_SILENT = 100
# the disk is full, the quota is used up, or the file is too large for the file system
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# the HTTP libraries' names of errors before a connection exists; the hub's client decides which library is used
_UNREACHED = {"ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol"}
_NAMED = 3
CARD = "README.md"
# files that a repository may hold before anything is pushed to it
_BARE = {".gitattributes", CARD}
# the libraries wrap the hub's errors once or twice
_LINKS = 20
GRACE, SLOWEST = 600.0, 20_000.0
"""Seconds in which a download may come slowly, and bytes a second that it has to come at afterwards."""
LONGEST_WAIT = 30
"""Seconds, at most, that an answer may have the client sleep before it asks again."""
# the seconds of `Retry-After: 30` and of `RateLimit: "api";r=0;t=30`
_WAIT = re.compile(r"(?:^|;\s*t\s*=)\s*(\d+)\s*$")
# seconds to connect, and without a byte, where the client sets none
_CONNECT, _SILENCE = 30.0, 300.0
# bytes of the largest answer that is read into memory: the list of a repository's files
_MOST_ANSWER = 2**26
# an entity tag that the client may take for the name of a file
_TAG = re.compile(r"(?!\.+$)[\w.+=-]{1,200}", re.ASCII)


class _UnfitAnswerError(Exception):
    """An answer that no hub gives; its message says what is wrong with it."""


class _Checks:
    """Checks what answers the hub's client, as long as a block is open.

    The client takes ETag and commit for names of files as they come, follows redirects from https to http, connects
    without a time-out, sleeps as long as an answer says, and writes a body of any length. Files come over http, where
    all this is checked, not through `hf_xet`, which has a client of its own.
    """

    def __init__(self) -> None:
        self._lock, self._open = Lock(), 0
        self._before: tuple[Callable[[], Any], bool] | None = None
        # by address, the bytes of a file that an answer has announced
        self._announced: dict[str, int] = {}

    def __enter__(self) -> None:
        from huggingface_hub import constants, set_client_factory
        from huggingface_hub.utils import _http

        with self._lock:
            if not self._open:
                before: Any = getattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
                self._before = before, constants.HF_HUB_DISABLE_XET
                set_client_factory(lambda: self._checked(before()))
                constants.HF_HUB_DISABLE_XET = True
            self._open += 1

    def __exit__(self, *_: object) -> None:
        from huggingface_hub import constants, set_client_factory

        with self._lock:
            self._open -= 1
            if not self._open and self._before is not None:
                factory, constants.HF_HUB_DISABLE_XET = self._before
                set_client_factory(factory)
                self._announced.clear()

    def _checked(self, client: Any) -> Any:
        """The hub's client, of whichever HTTP library, with our checks of each request and answer."""
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks["request"], _limit_request],
            "response": [*hooks["response"], self._check],
        }
        return client

    def _check(self, response: Any) -> None:
        """Refuse an answer that no hub gives, and limit its body.

        Raises:
            _UnfitAnswerError: it names a file or a commit in a way that leads elsewhere, redirects from https to http,
                is compressed, or is too large.
            OSError: it is longer than announced, or the disk has not as much room.
        """
        request, headers = response.request, response.headers
        for key in ("Retry-After", "RateLimit"):
            wait = _WAIT.search(headers.get(key, ""))
            if wait and (len(wait[1]) > 3 or int(wait[1]) > LONGEST_WAIT):
                # then the client waits as it does by itself, some 20 seconds in all, and the refusal says to try later
                del headers[key]
        tags = ("X-Linked-ETag", "ETag") if request.method == "HEAD" else ()
        for key in (*tags, "X-Repo-Commit"):
            value = headers.get(key, "")
            # the client strips the weak mark and the quotes
            fits = _TAG.fullmatch(value.lstrip("W/").strip('"')) if key in tags else _COMMIT.fullmatch(value)
            if key in headers and not fits:
                raise _UnfitAnswerError(f"what answers there is not the hub: its {key} is {value[:60]!a}")
        target = urljoin(str(request.url), headers.get("Location", ""))
        if request.url.scheme == "https" and urlsplit(target).scheme != "https":
            raise _UnfitAnswerError(
                f"what answers there redirects to an address without https, {target[:60]!a}"
            )
        length = headers.get("Content-Length", "")
        if request.method == "HEAD":
            size = headers.get("X-Linked-Size") or ("" if "Location" in headers else length)
            if size.isdecimal():
                self._announced |= dict.fromkeys(
                    (str(request.url), str(type(request.url)(target))), int(size)
                )
            return
        if headers.get("Content-Encoding", "identity") != "identity":
            raise _UnfitAnswerError("what answers there compresses what it was asked for as it is")
        most = self._announced.get(str(request.url))
        if most is None:
            # a list is read into memory; a file that was not announced says its length
            most = int(length) if length.isdecimal() and "/api/" not in request.url.path else _MOST_ANSWER
        elif most > _free_disk():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        response.stream = _limited(response.stream, most, str(request.url) in self._announced)


_checks = _Checks()


def _limit_request(request: Any) -> None:
    # compressed, a small answer could become a large one
    request.headers["Accept-Encoding"] = "identity"
    limits = {"connect": _CONNECT, "pool": _CONNECT, "read": _SILENCE, "write": _SILENCE}
    given = {key: own for key, own in request.extensions.get("timeout", {}).items() if own is not None}
    request.extensions = {**request.extensions, "timeout": limits | given}


def _free_disk() -> int:
    from huggingface_hub import constants

    return shutil.disk_usage(nearest_there(Path(constants.HF_HUB_CACHE))).free


def _limited(stream: Any, most: int, announced: bool) -> Any:
    """A body that ends with an error after `most` bytes, or if it comes too slowly."""
    base = next(kind for kind in type(stream).__mro__ if kind.__name__ == "SyncByteStream")

    class Limited(base):  # type: ignore[valid-type,misc]
        def __iter__(self) -> Iterator[bytes]:
            began, came = time.monotonic(), 0
            for block in stream:
                came += len(block)
                if came > most and announced:
                    # as the client says it, once everything has come
                    raise OSError("Consistency check failed: more than announced")
                if came > most:
                    raise _UnfitAnswerError(f"the hub answers with more than {most:,} bytes")
                if time.monotonic() - began > GRACE + came / SLOWEST:
                    raise _UnfitAnswerError(f"fewer than {SLOWEST:,.0f} bytes a second come: try later")
                yield block

        def close(self) -> None:
            stream.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(stream, name)

    return Limited()


@dataclass(frozen=True)
class Repository:
    """A repository on the hub at a revision.

    Attributes:
        name: `OWNER/NAME`; some old repositories have no owner.
        revision: a branch, tag or commit; None for the main branch.
        kind: `model` or `dataset`, the hub client's terms.
    """

    name: str
    revision: str | None = None
    kind: Literal["model", "dataset"] = "model"

    @staticmethod
    def parse(text: str, kind: Literal["model", "dataset"] = "model") -> "Repository":
        """Parse `NAME` or `NAME@REVISION`, without any request.

        Raises:
            GlossaeError: the name is impossible, or its revision is empty; the message begins with the fault.
        """
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        name, at, revision = text.partition("@")
        if at and not revision:
            raise GlossaeError(
                "there is no revision after the @: write a branch, a tag or a commit, or leave it out"
            )
        # the client would use it as a path in its cache
        if ".." in revision or not revision.isprintable() or revision.startswith("/"):
            raise GlossaeError(f"{revision!r} is no revision that a repository can have")
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            raise GlossaeError(
                f"{name!r} is no name that a repository on the hub can have: write OWNER/NAME"
            ) from error
        return Repository(name, revision or None, kind)

    @staticmethod
    def named(name: Path | str, revision: str | None) -> "Repository":
        """The repository of `NAME` or `NAME@REVISION`, or of a name and a revision.

        Raises:
            GlossaeError: as `parse`.
        """
        expect(name, str | Path, "name: expected OWNER/NAME or a folder")
        return Repository.parse(str(name) if revision is None else f"{name}@{revision}")

    def at(self, commit: str) -> "Repository":
        """The same repository, pinned to a commit."""
        return replace(self, revision=commit)

    @property
    def page(self) -> str:
        """The address of its web page."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    @property
    def folder(self) -> Path:
        """The folder of the hub client's cache for it, which need not exist."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=self.name, repo_type=self.kind)

    @property
    def known_commit(self) -> str | None:
        """The commit of the revision at the last request; None if it was never requested. Uses no network."""
        revision = self.revision or "main"
        if _COMMIT.fullmatch(revision):
            return revision
        try:
            commit = (self.folder / "refs" / revision).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return commit or None


@contextmanager
def silent_client(bars: bool = True) -> Iterator[None]:
    """Check what answers the hub's client in the block, and keep it from logging, warning and drawing progress bars.

    Args:
        bars: let the client draw progress bars if standard error is a terminal.
    """
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
        logging,
    )

    level, bare = logging.get_verbosity(), are_progress_bars_disabled()
    logging.set_verbosity(_SILENT)
    with _checks, warnings.catch_warnings():
        # among them the warning that an environment variable overrules this setting
        warnings.simplefilter("ignore")
        if not (bars and sys.stderr is not None and sys.stderr.isatty()):
            disable_progress_bars()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            (disable_progress_bars if bare else enable_progress_bars)()


def local_place(name: Path | str, revision: str | None) -> Path | None:
    """The folder or file of this machine that `from_pretrained` names; None where it names a repository.

    Raises:
        GlossaeError: it is no name, or it is here, and a revision is given.
    """
    place = path_given(name, "name")
    if not place.exists():
        return None
    if revision is not None:
        raise GlossaeError(f"{name}: is a folder or file here, which has no revision {revision!r}")
    return place


@contextmanager
def hub_errors(repository: Repository, called: str) -> Iterator[None]:
    """Turn the client's errors inside the block into one line that begins with `called`.

    Files that the block fetched are checked; a file with another SHA-256 than the hub announced is deleted.

    Raises:
        GlossaeError: the hub or the network refuses, the disk is full, or a file arrived broken.
    """
    before = _hashed_files(repository)
    try:
        with silent_client():
            yield
    except GlossaeError:
        raise
    except Exception as error:
        raise GlossaeError(f"{called} {_refusal(error, repository)}") from error
    finally:
        # also after a failure: a file that is not checked now would be trusted the next time
        broken = _throw_away_broken(repository, before)
    if broken:
        raise GlossaeError(
            f"{called}: {broken[0]} arrived with other bytes than the hub announced (its SHA-256 differs) and was "
            "thrown away: run the same command again"
        )


def download(repository: Repository, file: str) -> Path:
    """Fetch one small file of a repository from the hub, or, if the hub cannot be reached, from the cache.

    Raises:
        Exception: an error of the client; `hub_errors` turns it into a line.
    """
    from huggingface_hub import hf_hub_download

    # a single file is small, and needs no progress bar
    with silent_client(bars=False):
        return Path(
            hf_hub_download(repository.name, file, repo_type=repository.kind, revision=repository.revision)
        )


def commit_of(repository: Repository, file: str) -> str:
    """The commit of a revision now; without a network, the commit at the last request.

    Args:
        repository: the repository; the cache remembers its commit.
        file: the file to fetch for this; it need not exist.

    Raises:
        Exception: an error of the client; `hub_errors` turns it into a line.
    """
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return download(repository, file).parent.name
    except EntryNotFoundError:
        # either the file does not exist, and the client noted the commit; or there is no network, and the
        # client may have noted the commit earlier
        commit = repository.known_commit
        if commit is None:
            raise
        return commit


def push(
    repository: Repository,
    files: Mapping[str, Path | str],
    *,
    message: str,
    mark: str,
    replaces: Collection[str] = (),
    private: bool = False,
) -> str:
    """Push files in one commit, into a new repository or one that an earlier push filled.

    A licence that the repository's card already names is kept.

    Args:
        repository: where to; a revision has to be a branch that exists.
        files: by their path in the repository; a text is the content itself.
        message: of the commit.
        mark: a line that the repository's card has if it may be replaced.
        replaces: names of files that an earlier push may have left, and that go if this one does not have them.
        private: make a new repository private; refuse a public one.

    Returns:
        The address of the commit.

    Raises:
        GlossaeError: there is no token or it may not write there, the repository holds other things, is public
            though it should be private, has no such branch, or the hub cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    name, branch = repository.name, repository.revision
    require_owner(repository)
    if get_token() is None:
        raise GlossaeError(
            f"{name}: a push needs a token that may write: log in with 'hf auth login', or set HF_TOKEN"
        )
    with _push_errors(repository):
        api, contents = HfApi(), dict(files)
        there = _files_there(api, repository, private)
        if there is None:
            if branch is not None:
                raise GlossaeError(
                    f"{name}: is not on the hub yet, so it has no branch {branch!r}: push without --revision first"
                )
            api.create_repo(name, private=private or None, exist_ok=True)
        elif CARD in there:
            card = download(repository, CARD).read_text(encoding="utf-8", errors="replace")
            contents[CARD] = _with_license(str(contents[CARD]), card)
            _check_replaceable(name, there, card, mark)
        elif not _BARE.issuperset(there):
            _check_replaceable(name, there, "", mark)
        old = {path for path in there or () if path.rpartition("/")[2] in replaces} - contents.keys()
        operations: list[Any] = [
            CommitOperationAdd(path, content.encode() if isinstance(content, str) else content)
            for path, content in contents.items()
        ]
        operations += [CommitOperationDelete(path) for path in sorted(old)]
        return str(api.create_commit(name, operations, commit_message=message, revision=branch).commit_url)


def require_owner(repository: Repository) -> None:
    """Refuse a repository's name that lacks its owner: on the hub it would be another repository."""
    if "/" not in repository.name:
        raise GlossaeError(
            f"{repository.name}: has no owner: write OWNER/NAME, with your account or organisation as the owner"
        )


def license_of(repository: Repository) -> str | None:
    """The licence that a repository's card names on the hub; None if it names none, or cannot be asked."""
    from huggingface_hub import HfApi

    try:
        with silent_client(bars=False):
            info: Any = HfApi().repo_info(
                repository.name, revision=repository.revision, repo_type=repository.kind
            )
            found = info.card_data.get("license") if info.card_data else None
    except Exception:  # nothing depends on it
        return None
    return ", ".join(map(str, found)) if isinstance(found, list) else None if found is None else str(found)


def _files_there(api: "HfApi", repository: Repository, private: bool) -> list[str] | None:
    """The files of a repository's branch; None if there is no such repository.

    Raises:
        GlossaeError: it is public, and should be private.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(repository.name)
    except RepositoryNotFoundError:
        return None
    if private and not info.private:
        raise GlossaeError(
            f"{repository.name}: is public, and --private makes only a new repository private: give another name, or "
            f"make it private at {repository.page}/settings"
        )
    return list(api.list_repo_files(repository.name, revision=repository.revision))


def _check_replaceable(name: str, there: Collection[str], card: str, mark: str) -> None:
    """Refuse a repository that holds what no push of glossae left."""
    # a repository made on the web page has a card of metadata alone
    bare = _BARE.issuperset(there) and not re.sub(r"\A---\n.*?^---\s*", "", card, flags=re.S | re.M).strip()
    if mark in card or bare:
        return
    others = sorted(set(there) - {".gitattributes"})
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    raise GlossaeError(
        f"{name}: holds {', '.join(others[:_NAMED])}{more}, which glossae did not push: give another name"
    )


def _with_license(card: str, old: str) -> str:
    """A card with the licence that an old one names, if it has none itself."""
    from huggingface_hub import ModelCard

    try:
        named: dict[str, Any] = ModelCard(old, ignore_metadata_errors=True).data.to_dict()  # type: ignore[no-untyped-call]
    except Exception:  # whatever stands there, it names no licence
        return card
    own = ModelCard(card)
    if own.data.get("license") is not None or named.get("license") is None:
        return card
    for key in ("license", "license_name", "license_link"):
        if named.get(key) is not None:
            own.data[key] = named[key]
    return str(own)


@contextmanager
def _push_errors(repository: Repository) -> Iterator[None]:
    """Turn the client's errors inside the block into one line."""
    try:
        with silent_client():
            yield
    except GlossaeError:
        raise
    except Exception as error:
        said = _refusal(error, repository, _push_error_text, "pushed")
        raise GlossaeError(f"{repository.name}: {said}") from error


def _push_error_text(error: BaseException, repository: Repository) -> str | None:
    """The message of one error of a push; None if it is not about the hub."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    name, again = repository.name, "nothing of it was committed: run the same command again"
    match error:
        case ConnectionError() if constants.HF_HUB_OFFLINE:
            return f"cannot be pushed: {offline() or 'HF_HUB_OFFLINE'} is set: unset it"
        case RevisionNotFoundError():
            return (
                f"has no branch {repository.revision!r}: {_nearest(repository)} 'hf repos branch create {name} "
                f"{repository.revision}' makes it"
            )
        case HfHubHTTPError():
            status, said = error.response.status_code, str(error.server_message or error).partition("\n")[0]
            if status == 401 and "Invalid credentials" in str(error):
                return "cannot be pushed: the hub does not accept your token: renew it ('hf auth login', HF_TOKEN)"
            if status in (401, 403, 404):
                return (
                    f"cannot be pushed: your token may not write there ({status}): make one with the right to write at "
                    f"{constants.ENDPOINT}/settings/tokens, or give a name of your own account"
                )
            if status in (409, 412):
                return f"cannot be pushed: somebody else changed it in the meantime ({status}); {again}"
            return f"cannot be pushed: the hub answers {status} ({said}); {again}"
    names = [kind.__name__ for kind in type(error).__mro__]
    if "TransportError" in names or isinstance(error, ConnectionError):
        reason = (str(error).strip() or names[0]).splitlines()[0]
        return f"cannot be pushed: the hub cannot be reached, or the connection broke off ({reason}); {again}"
    return None


def _hashed_files(repository: Repository) -> set[Path]:
    """The cached files named by the SHA-256 of their content: the large ones."""
    try:
        return {path for path in (repository.folder / "blobs").iterdir() if len(path.name) == _SHA256_DIGITS}
    except OSError:
        return set()


def _throw_away_broken(repository: Repository, before: set[Path]) -> list[str]:
    """Delete files that arrived after `before` and do not have their SHA-256; returns their names."""
    broken = []
    for blob in sorted(_hashed_files(repository) - before):
        if file_sha256(blob) == blob.name:
            continue
        files = (repository.folder / "snapshots").rglob("*")
        pointers = [path for path in files if path.is_symlink() and path.resolve() == blob.resolve()]
        broken.append(pointers[0].name if pointers else blob.name)
        for path in (*pointers, blob):
            path.unlink(missing_ok=True)
    return broken


def _refusal(
    error: BaseException,
    repository: Repository,
    text: Callable[[BaseException, Repository], str | None] | None = None,
    done: str = "fetched",
) -> str:
    """The message of `error` or one of its causes, to stand after the repository's name."""
    link: BaseException | None = error
    for _ in range(_LINKS):
        if link is None:
            break
        if (said := (text or _error_text)(link, repository)) is not None:
            return said
        link = link.__cause__ or link.__context__
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"cannot be {done}: {lines[0] if lines else type(error).__name__}"


def _error_text(error: BaseException, repository: Repository) -> str | None:
    """The message of one error; None if it is not about the hub."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        DisabledRepoError,
        EntryNotFoundError,
        FileMetadataError,
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = repository.page
    match error:
        case _UnfitAnswerError():
            return f"cannot be fetched: {error}"
        case ConnectionError() if constants.HF_HUB_OFFLINE or isinstance(error, OfflineModeIsEnabled):
            # `datasets` raises another error, which no longer gives the reason
            return (
                f"is not in the hub's cache, and {offline() or 'HF_HUB_OFFLINE'} is set: "
                f"unset it, {_without_network(repository)}"
            )
        case ConnectionError():
            return _unreachable_text(str(error), repository)
        case FileMetadataError():
            return (
                f"cannot be fetched: what answers at {constants.ENDPOINT} is not the hub: check HF_ENDPOINT, the "
                "firewall and the proxy"
            )
        case EntryNotFoundError():
            # a file that need not exist; the caller reports a file that is really missing
            return None
        case GatedRepoError() if error.response.status_code == 401:
            return f"is gated: accept its terms at {page}, then log in with 'hf auth login' or set HF_TOKEN"
        case GatedRepoError():
            return (
                f"is gated, and your token's account has no access: accept its terms at {page}, or use the "
                "token of an account that has"
            )
        case RepositoryNotFoundError():
            return _not_found_text(repository)
        case RevisionNotFoundError():
            return f"has no revision {repository.revision!r}: {_nearest(repository)}"
        case DisabledRepoError():
            return f"has been disabled on the hub: see {page}"
        case HfHubHTTPError():
            return _status_text(error.response.status_code, str(error), repository)
        case OSError() if error.errno in _FULL:
            return (
                f"cannot be fetched into {constants.HF_HOME} ({error.strerror}): free disk space there, or set "
                "HF_HOME to a folder on another disk"
            )
        case OSError() if error.errno in _FORBIDDEN:
            where = error.filename or constants.HF_HOME
            return (
                f"cannot be fetched into {where} ({error.strerror}): set HF_HOME to a folder you may write to"
            )
        case OSError() if str(error).startswith("Consistency check failed"):
            return (
                "cannot be fetched: a file arrived with another size than the hub announced: run the same command "
                "again; if it stays so, the file on the hub is broken"
            )
    # of whichever HTTP library the client uses
    names = [kind.__name__ for kind in type(error).__mro__]
    if "TransportError" not in names:
        return None
    reason = (str(error).strip() or names[0]).splitlines()[0]
    if _UNREACHED.isdisjoint(names):
        return f"cannot be fetched: the transfer broke off ({reason}): run the same command again"
    return _unreachable_text(reason, repository)


def _unreachable_text(reason: str, repository: Repository) -> str:
    return (
        f"is not in the hub's cache, and the hub cannot be reached ({reason}): "
        f"mend the connection, {_without_network(repository)}"
    )


def _without_network(repository: Repository) -> str:
    """Advice for a machine without a network."""
    from huggingface_hub import constants

    if repository.kind == "dataset":
        # without a network, `datasets` finds only the tables that it has made itself
        home = constants.HF_HOME
        return f"give files instead, or run this once on a machine with a network and copy {home} from there"
    revision = f" --revision {repository.revision}" if repository.revision else ""
    return (
        f"give a folder instead, or fetch it on a machine with a network ('hf download {repository.name}{revision}') "
        f"and copy {constants.HF_HUB_CACHE} from there"
    )


def _not_found_text(repository: Repository) -> str:
    nor = ", and there is no such folder" if repository.kind == "model" else ""
    return (
        f"is not on the hub, or it is private{nor}: check the name at {repository.page}, or log in with "
        "'hf auth login' or HF_TOKEN"
    )


def _status_text(status: int, message: str, repository: Repository) -> str:
    """The message for a status code without an error class of its own."""
    if status == 401 and "Invalid credentials" in message:
        return "cannot be fetched: the hub does not accept your token: renew it with 'hf auth login' or in HF_TOKEN"
    if status in (401, 404):
        # the hub also answers 401 for a missing repository, so that private names stay secret
        return _not_found_text(repository)
    if status == 403:
        return f"cannot be fetched: your token may not read it (403): see {repository.page}"
    if status == 429:
        return (
            "cannot be fetched: the hub asks to wait (429): try later, or log in, which allows more requests"
        )
    fault = "the fault is there: try again later" if status >= 500 else f"see {repository.page}"
    return f"cannot be fetched: the hub answers {status}: {fault}"


def _nearest(repository: Repository) -> str:
    """The revisions that may have been meant, if the hub lists them."""
    from huggingface_hub import HfApi

    try:
        with silent_client(bars=False):
            refs = HfApi().list_repo_refs(repository.name, repo_type=repository.kind)
    except Exception:  # the error at hand is the one to tell
        return f"see {repository.page}"
    names = [ref.name for ref in (*refs.branches, *refs.tags)]
    near = difflib.get_close_matches(repository.revision or "", names, n=_NAMED)
    if near:
        return f"did you mean {' or '.join(near)}?"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"there are {', '.join(names[:_NAMED])}{more}: see {repository.page}"
