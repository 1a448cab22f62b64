"""A server on this machine that gives out archives as OPUS does, and makes every trouble that servers make."""

import io
import json
import ssl
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PAGE = b"<!DOCTYPE html>\n<html><body>Please log in to this network.</body></html>\n" * 20


def archive(pairs, corpus="Tiny", codes=("da", "en")):
    """A Moses archive as OPUS makes them: two texts aligned by line, and files about them."""
    stem = f"{corpus}.{'-'.join(codes)}"
    members = {"README": "About the corpus.\n", "LICENSE": "None.\n"}
    for code, texts in zip(codes, zip(*pairs, strict=True), strict=True):
        members[f"{stem}.{code}"] = "".join(f"{text}\n" for text in texts)
    members[f"{stem}.xml"] = "<cesAlign/>\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            # a ZipInfo has no time of its own: the same pairs are the same bytes whenever they are packed
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


class OpusServer:
    """The server, for the length of a `with`.

    Attributes:
        files: what it has, by path.
        catalogue: rows of the API; None where that is down.
        asked: (path, Range) of every request for a file.
        answers: status codes for the next requests, before any file is given out.
        stops: bytes after which the next transfers break off.
        ranges: `obeyed`, `ignored`, or `blind` (obeyed without a look at If-Range).
        lie: added to every Content-Length.
        length: whether it says how long a file is; `chunked` is how it does without.
        page: a page that comes in every file's place.
        redirect: where every request for a file is sent.
        pause: seconds before each block of 10,000 bytes.
        validators: the headers that say which file it is, given its number of changes.
    """

    def __init__(self, certificate=None, key=None):
        self._certificate, self._key = certificate, key
        self.files = {}
        self.catalogue = []
        self.asked = []
        self.answers = []
        self.stops = []
        self.ranges = "obeyed"
        self.lie = 0
        self.length = True
        self.chunked = False
        self.page = None
        self.redirect = None
        self.pause = 0.0
        self.validators = lambda changes: {"ETag": f'"{changes}"', "Last-Modified": f"change {changes}"}
        self.changes = 0

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"server_of": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate, self._key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Stop answering."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def address(self):
        if self._certificate is not None:
            return f"https://localhost:{self._server.server_port}"
        return f"http://127.0.0.1:{self._server.server_port}"

    def put(self, content, corpus="Tiny", version="v1", codes=("da", "en")):
        """Have an archive; another one under the same name counts as a change of it."""
        self.files[f"/OPUS-{corpus}/{version}/moses/{'-'.join(codes)}.txt.zip"] = content
        self.changes += 1
        return content

    def list(self, corpus, source="da", target="en", version="v1"):
        """Have a row in the catalogue."""
        self.catalogue.append({"corpus": corpus, "source": source, "target": target, "version": version})


class _Handler(BaseHTTPRequestHandler):
    server_of: OpusServer

    def log_message(self, *_):
        pass

    def do_GET(self):
        opus = self.server_of
        # a proxy is asked for a whole address
        parts = urlsplit(self.path)
        if parts.path.startswith("/api"):
            self._api({key: values[0] for key, values in parse_qs(parts.query).items()})
            return
        opus.asked.append((self.path, self.headers.get("Range")))
        if opus.answers and (status := opus.answers.pop(0)) != 200:
            self.send_error(status)
        elif opus.redirect is not None and not parts.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", opus.redirect + parts.path)
            self.end_headers()
        elif opus.page is not None:
            self._send(200, opus.page, {"Content-Type": "text/html"})
        elif (content := opus.files.get(parts.path.removeprefix("/moved"))) is None:
            self.send_error(404)
        else:
            self._file(content)

    def _api(self, query):
        opus = self.server_of
        if opus.catalogue is None:
            self.send_error(503)
        elif "corpora" in query:
            names = sorted({row["corpus"] for row in opus.catalogue})
            self._send(200, json.dumps({"corpora": names}).encode())
        else:
            rows = [row for row in opus.catalogue if row["corpus"] == query["corpus"]]
            self._send(200, json.dumps({"corpora": rows}).encode())

    def _file(self, content):
        opus = self.server_of
        about = opus.validators(opus.changes)
        wanted = self.headers.get("Range")
        same = opus.ranges == "blind" or self.headers.get("If-Range") in about.values()
        if wanted is None or opus.ranges == "ignored" or not same:
            self._send(200, content, about)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            self.send_error(416)
            return
        place = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206, content[start:], {**about, "Content-Range": place})

    def _send(self, status, content, headers=()):
        opus = self.server_of
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        if opus.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif opus.length:
            self.send_header("Content-Length", str(len(content) + opus.lie))
        self.end_headers()
        stop = opus.stops.pop(0) if opus.stops and status < 300 else len(content)
        for start in range(0, stop, 10_000):
            block = content[start : min(start + 10_000, stop)]
            time.sleep(opus.pause)
            try:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block) if opus.chunked else block)
            except ConnectionError:
                return
        if opus.chunked and stop == len(content):
            self.wfile.write(b"0\r\n\r\n")
