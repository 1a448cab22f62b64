"""What went wrong with the hub, in a sentence of our own, and what to do about it."""

import difflib
import errno
from collections.abc import Iterator

from glossae.hub.repository import Repository

# the disk is full, the quota is, or no file may grow that large
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# the HTTP libraries' names for what goes wrong before there is a connection; which of them is used is the client's
_UNREACHED = ("ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol")
_NAMED = 3
_LINKS = 20


def refusal(error: BaseException, repository: Repository) -> str | None:
    """What `error` says, fit to stand behind the repository's name; None if it is not about the hub."""
    for link in _chain(error):
        said = _said(link, repository)
        if said is not None:
            return said
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what caused it, and so on: the libraries wrap the hub's answers once or twice."""
    for _ in range(_LINKS):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _said(error: BaseException, repository: Repository) -> str | None:
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

    match error:
        case OfflineModeIsEnabled():
            return _offline(repository)
        case ConnectionError():
            # `datasets` says it so, and no longer why
            return _offline(repository) if constants.HF_HUB_OFFLINE else _unreached(str(error), repository)
        case FileMetadataError():
            return (
                f"cannot be fetched: what answers at {constants.ENDPOINT} is not the hub: check HF_ENDPOINT, the "
                "firewall and the proxy"
            )
        case EntryNotFoundError():
            # a file that was only tried; that one is missing for good is for the caller to say
            return None
        case GatedRepoError():
            return _gated(error.response.status_code, repository)
        case RepositoryNotFoundError():
            return _unknown(repository)
        case RevisionNotFoundError():
            return f"has no revision {repository.revision!r}: {_nearest(repository)}"
        case DisabledRepoError():
            return f"has been disabled on the hub: see {repository.page}"
        case HfHubHTTPError():
            return _status(error.response.status_code, str(error), repository)
        case OSError() if error.errno in _FULL:
            return (
                f"cannot be fetched into {constants.HF_HOME} ({error.strerror}): make room there, or set HF_HOME to "
                "a folder on another disk"
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
    return _transport(error, repository)


def _transport(error: BaseException, repository: Repository) -> str | None:
    """What is said of the network, whichever HTTP library the client uses."""
    names = [kind.__name__ for kind in type(error).__mro__]
    if "TransportError" not in names:
        return None
    reason = (str(error).strip() or names[0]).splitlines()[0]
    if not any(name in _UNREACHED for name in names):
        return f"cannot be fetched: the transfer broke off ({reason}): run the same command again"
    return _unreached(reason, repository)


def _offline(repository: Repository) -> str:
    return f"is not in the hub's cache, and HF_HUB_OFFLINE is set: unset it, {_otherwise(repository)}"


def _unreached(reason: str, repository: Repository) -> str:
    return (
        f"is not in the hub's cache, and the hub cannot be reached ({reason}): "
        f"mend the connection, {_otherwise(repository)}"
    )


def _gated(status: int, repository: Repository) -> str:
    if status == 401:
        return f"is gated: accept its terms at {repository.page}, then log in with 'hf auth login' or set HF_TOKEN"
    return (
        f"is gated, and your token's account has no access: accept its terms at {repository.page}, or use the "
        "token of an account that has"
    )


def _unknown(repository: Repository) -> str:
    nor = ", and there is no such folder" if repository.kind == "model" else ""
    return (
        f"is not on the hub, or it is private{nor}: check the name at {repository.page}, or log in with "
        "'hf auth login' or HF_TOKEN"
    )


def _status(status: int, message: str, repository: Repository) -> str:
    """What an answer means that has no error class of its own."""
    if status == 401 and "Invalid credentials" in message:
        return "cannot be fetched: the hub does not accept your token: renew it with 'hf auth login' or in HF_TOKEN"
    if status in (401, 404):
        # the hub says 401 of what is not there too, lest it tell what is private
        return _unknown(repository)
    if status == 403:
        return f"cannot be fetched: your token may not read it (403): see {repository.page}"
    if status == 429:
        return (
            "cannot be fetched: the hub asks to wait (429): try later, or log in, which allows more requests"
        )
    fault = "the fault is there: try again later" if status >= 500 else f"see {repository.page}"
    return f"cannot be fetched: the hub answers {status}: {fault}"


def _otherwise(repository: Repository) -> str:
    """What to do without a network."""
    from huggingface_hub import constants

    if repository.kind == "dataset":
        # `datasets` finds without a network only what it has itself made into tables
        home = constants.HF_HOME
        return f"give files instead, or run this once on a machine with a network and copy {home} from there"
    revision = f" --revision {repository.revision}" if repository.revision else ""
    return (
        f"give a folder instead, or fetch it on a machine with a network ('hf download {repository.name}{revision}') "
        f"and copy {constants.HF_HUB_CACHE} from there"
    )


def _nearest(repository: Repository) -> str:
    """The revisions that may have been meant, if the hub tells."""
    from huggingface_hub import HfApi

    try:
        refs = HfApi().list_repo_refs(repository.name, repo_type=repository.kind)
    except Exception:  # the error at hand is the one to tell
        return f"see {repository.page}"
    names = [ref.name for ref in (*refs.branches, *refs.tags)]
    near = difflib.get_close_matches(repository.revision or "", names, n=_NAMED)
    if near:
        return f"did you mean {' or '.join(near)}?"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"there are {', '.join(names[:_NAMED])}{more}: see {repository.page}"
