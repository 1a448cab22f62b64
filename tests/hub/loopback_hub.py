"""A hub on this machine: the routes that the hub's clients really ask, over files given by a test, with mischief."""

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".bin", ".parquet")
"""Files that the hub keeps in its large file storage, under the SHA-256 of their bytes."""

WRITER, WRITERS = "hf_writer", "me"
"""The token that may write, and the only account that it may write to."""

PATIENCE = 3
"""Seconds that clients of this hub wait for an answer."""


@dataclass
class Repo:
    """A repository: its files by commit, its branches and tags, and what it answers instead, if anything.

    Attributes:
        refuse: (status, headers) of the answer to every request, or None.
        require: a token without which `refuse` is the answer.
        spoil: what is sent in place of a large file's bytes.
        breaks: how many times the connection breaks while a large file is sent.
        break_after: after how many bytes it does.
        reset: break it rudely, as a router does that has forgotten it.
        stalls: how many times a large file does not come for so long that nobody waits.
        private: whether its page says so.
        card_data: what the hub says of its card's metadata.
        messages: of the commits that were pushed.
        meanwhile: what answers a commit instead, once: (status, headers).
        lies: headers of every file that are not the hub's.
        endless: what does not end: `files` (large ones), or `lists` (of files).
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    refuse: tuple[int, dict[str, str]] | None = None
    require: str | None = None
    spoil: Callable[[bytes], bytes] | None = None
    breaks: int = 0
    break_after: int = 0
    reset: bool = False
    stalls: int = 0
    private: bool = False
    card_data: dict[str, Any] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    meanwhile: tuple[int, dict[str, str]] | None = None
    lies: dict[str, str] = field(default_factory=dict)
    endless: str = ""

    def commit_of(self, revision: str) -> str | None:
        if revision in self.commits:
            return revision
        return self.refs.get(revision) or self.tags.get(revision)


class LoopbackHub:
    """Serves repositories on 127.0.0.1 from its making until `down`, and again from `up`.

    Large files lie, as the real hub's do, on another server, which tells nothing of the repository.
    """

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.uploaded: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.connections: set[socket.socket] = set()
        self._ports = [0, 0]
        self._servers: list[ThreadingHTTPServer] = []
        self.up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def storage_url(self) -> str:
        return f"http://127.0.0.1:{self._ports[1]}"

    @property
    def ports(self) -> list[int]:
        """Of the hub and of its storage."""
        return self._ports

    def up(self) -> None:
        methods = dict.fromkeys(("do_HEAD", "do_GET", "do_POST", "do_PUT"), _Handler.route)
        handler = type("Handler", (_Handler,), {"hub": self, **methods})
        self._servers = [ThreadingHTTPServer(("127.0.0.1", port), handler) for port in self._ports]
        self._ports = [server.server_port for server in self._servers]
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def down(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def unreachable(self):
        self.down()
        try:
            yield
        finally:
            self.up()

    def add(
        self,
        name: str,
        files: dict[str, bytes | str],
        *,
        kind: str = "models",
        revision: str = "main",
        tag: bool = False,
    ) -> str:
        """A new commit, which a branch or tag is moved to; gives the commit."""
        repo = self.repos.setdefault((kind, name), Repo())
        content = {path: data if isinstance(data, bytes) else data.encode() for path, data in files.items()}
        digest = hashlib.sha1(f"{name} {len(repo.commits)}".encode())
        for path, data in sorted(content.items()):
            digest.update(path.encode() + data)
        commit = digest.hexdigest()
        repo.commits[commit] = content
        (repo.tags if tag else repo.refs)[revision] = commit
        return commit

    def repo(self, name: str, kind: str = "models") -> Repo:
        return self.repos[kind, name]

    def asks(self, ending: str) -> int:
        """How many of the requests since the last `asked.clear()` end so."""
        return sum(line.endswith(ending) for line in self.asked)


def etag(path: str, data: bytes) -> str:
    """The SHA-256 of a large file; of a small one git's own hash."""
    if path.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.hub.connections.add(self.connection)

    def finish(self) -> None:
        self.hub.connections.discard(self.connection)
        super().finish()

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, OSError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def route(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        self.hub.asked.append(f"{self.command} {unquote(path)} {self.headers.get('Range', '')}".strip())
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[0] == "stored":
            self._large(parts[1], parts[2], "/".join(parts[3:]))
        elif parts[0] == "upload":
            assert "Authorization" not in self.headers, "the token was sent to another server"
            self.hub.uploaded[parts[1]] = body
            self._send(200, b"", {})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch("/".join(parts[:2]).removesuffix(".git"), json.loads(body))
        elif parts[0] == "api" and parts[4:5] in (["preupload"], ["commit"]):
            self._write(parts[4], "/".join(parts[2:4]), parts[5], body)
        elif parts[0] == "api":
            self._api(parts[1], "/".join(parts[2:4]), parts[4:], body)
        else:
            kind = "datasets" if parts[0] == "datasets" else "models"
            parts = parts[kind == "datasets" :]
            if len(parts) > 4 and parts[2] == "resolve":
                self._resolve(kind, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
            else:
                self._refuse(404, {})

    def _repo(self, kind: str, name: str) -> Repo | None:
        """The repository, or None once its refusal has been sent."""
        repo = self.hub.repos.get((kind, name))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token.startswith("hf_bad"):
            self._refuse(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif repo is None:
            # the hub does not tell strangers what there is
            self._refuse(404 if token else 401, {"X-Error-Code": "RepoNotFound"})
        elif repo.refuse is not None and (repo.require is None or token != repo.require):
            self._refuse(*repo.refuse)
        else:
            return repo
        return None

    def _api(self, kind: str, name: str, rest: list[str], body: bytes) -> None:
        repo = self._repo(kind, name)
        if repo is None:
            return
        if rest == ["refs"]:
            refs = {
                f"{long}s": [
                    {"name": name, "ref": f"refs/{short}s/{name}", "targetCommit": commit}
                    for name, commit in found.items()
                ]
                for long, short, found in (("branche", "head", repo.refs), ("tag", "tag", repo.tags))
            }
            self._json({**refs, "converts": []})
            return
        what, revision = (rest[0], rest[1]) if len(rest) > 1 else ("revision", "main")
        commit = repo.commit_of(revision)
        if commit is None:
            self._refuse(404, {"X-Error-Code": "RevisionNotFound"})
            return
        files = repo.commits[commit]
        if repo.endless == "lists":
            self._without_end()
            return
        if what == "revision":
            siblings = [{"rfilename": path} for path in files]
            about = {"tags": [], "private": repo.private, "cardData": repo.card_data}
            self._json({"id": name, "sha": commit, "siblings": siblings, **about})
        elif what == "tree":
            inside = "".join(f"{part}/" for part in rest[2:])
            found = [path for path in files if path.startswith(inside)]
            if inside and not found:
                self._refuse(404, {"X-Error-Code": "EntryNotFound"})
                return
            folders = {str(above) for path in found for above in PurePosixPath(path).parents} - {"."}
            deep = parse_qs(urlsplit(self.path).query).get("recursive", [""])[0].lower() == "true"
            directory = {"type": "directory", "size": 0, "oid": "0" * 40}
            entries = [_entry(path, files[path]) for path in found]
            entries += [{**directory, "path": path} for path in sorted(folders)]
            depth = inside.count("/")
            self._json([entry for entry in entries if entry["path"].count("/") == depth or deep])
        elif what == "paths-info":
            wanted = json.loads(body)["paths"] if body.startswith(b"{") else []
            self._json([_entry(path, files[path]) for path in wanted if path in files])
        else:
            self._refuse(404, {})

    def _may_write(self, name: str) -> bool:
        """Whether the token may write there; sends the refusal if it may not."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token == WRITER and name.startswith(f"{WRITERS}/"):
            return True
        if token.startswith("hf_bad"):
            self._refuse(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif not token:
            self._refuse(401, {"X-Error-Code": "RepoNotFound"})
        else:
            self._refuse(403, {"X-Error-Message": "You don't have the rights"})
        return False

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if not self._may_write(name):
            return
        if ("models", name) in self.hub.repos:
            self._refuse(409, {"X-Error-Message": "You already created this model repo"})
            return
        self.hub.add(name, {".gitattributes": "*.safetensors filter=lfs"})
        self.hub.repo(name).private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self._json({"url": f"{self.hub.url}/{name}", "name": name})

    def _batch(self, name: str, asked: dict[str, Any]) -> None:
        """Where large files go; those that are there already go nowhere."""
        if not self._may_write(name):
            return
        objects = []
        for each in asked["objects"]:
            href = f"{self.hub.storage_url}/upload/{each['oid']}"
            missing = {} if each["oid"] in self.hub.uploaded else {"actions": {"upload": {"href": href}}}
            objects.append({"oid": each["oid"], "size": each["size"], **missing})
        self._json({"transfer": "basic", "objects": objects})

    def _write(self, what: str, name: str, branch: str, body: bytes) -> None:
        repo = self._repo("models", name) if self._may_write(name) else None
        if repo is None:
            return
        if branch not in repo.refs:
            self._refuse(404, {"X-Error-Code": "RevisionNotFound"})
        elif what == "preupload":
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif repo.meanwhile is not None:
            refusal, repo.meanwhile = repo.meanwhile, None
            self._refuse(*refusal)
        else:
            self._commit(repo, name, branch, [json.loads(line) for line in body.splitlines()])

    def _commit(self, repo: Repo, name: str, branch: str, lines: list[dict[str, Any]]) -> None:
        files = dict(repo.commits[repo.refs[branch]])
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                repo.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                data = self.hub.uploaded[value["oid"]]
                assert hashlib.sha256(data).hexdigest() == value["oid"]
                files[value["path"]] = data
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            else:
                raise NotImplementedError(line["key"])
        commit = self.hub.add(name, files, revision=branch)
        url = f"{self.hub.url}/{name}/commit/{commit}"
        self._json({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def _resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        repo = self._repo(kind, name)
        if repo is None:
            return
        commit = repo.commit_of(revision)
        if commit is None:
            self._refuse(404, {"X-Error-Code": "RevisionNotFound"})
            return
        data = repo.commits[commit].get(path)
        if data is None:
            self._refuse(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        about = {
            "X-Repo-Commit": commit,
            "ETag": f'"{etag(path, data)}"',
            "Accept-Ranges": "bytes",
            # a storage that is not there: files have to come over http
            "X-Xet-Hash": hashlib.sha256(data).hexdigest(),
            "Link": f'<{self.hub.url}/no-such-storage>; rel="xet-auth"',
        } | repo.lies
        if path.endswith(LARGE):
            about["X-Linked-ETag"] = about["ETag"]
            about["X-Linked-Size"] = str(len(data))
            about["Location"] = f"{self.hub.storage_url}/stored/{etag(path, data)}/{kind}/{name}"
            self._send(302, b"", about | repo.lies)
        else:
            self._send(200, data, about)

    def _large(self, sha: str, kind: str, name: str) -> None:
        """A large file, as it lies or spoiled, whole or from the byte that was asked for."""
        repo = self.hub.repo(name, kind)
        assert "Authorization" not in self.headers, "the token was sent to another server"
        data = next(d for files in repo.commits.values() for p, d in files.items() if etag(p, d) == sha)
        if self.command == "GET" and repo.stalls > 0:
            repo.stalls -= 1
            time.sleep(2 * PATIENCE)
            self.close_connection = True
            return
        if repo.spoil is not None:
            data = repo.spoil(data)
        if repo.endless == "files" and self.command == "GET":
            self._without_end()
            return
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        about = {"ETag": f'"{sha}"', "Accept-Ranges": "bytes"}
        status = 200
        if "Range" in self.headers:
            status, about["Content-Range"] = 206, f"bytes {start}-{len(data) - 1}/{len(data)}"
        if self.command == "GET" and repo.breaks > 0:
            repo.breaks -= 1
            self._send(status, data[start:], about, cut=repo.break_after)
            self.close_connection = True
            if repo.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            else:
                self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._send(status, data[start:], about)

    def _without_end(self) -> None:
        """Blocks until the client has had enough."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        block = bytes(2**20)
        while True:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, about: dict[str, str]) -> None:
        message = about.get("X-Error-Message", "refused")
        self._send(
            status, json.dumps({"error": message}).encode(), {"Content-Type": "application/json", **about}
        )

    def _send(self, status: int, data: bytes, about: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**about, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:cut])
            self.wfile.flush()


def _entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": etag(path, data)}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": etag(path, data), "size": len(data), "pointerSize": 134}
    return entry
