"""The HTTP side of the local Hub: one method per endpoint, a request log, faults.

with LocalHub(folder) as hub:
    HfApi(endpoint=hub.url, token=hub.token).create_repo("org/name", repo_type="dataset")
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import yaml

from tests.hub.faults import STATUSES, Fault, Faults
from tests.hub.large_files import LargeFiles
from tests.hub.repository import Commit, Entry, Repository, large, regular

PAGE = 1000
LARGE_SUFFIXES = (".parquet", ".tar", ".arrow", ".jpg", ".png", ".bin", ".safetensors")
LARGE_BYTES = 10_000_000
TOKEN = "hf_localhubowner" + "x" * 18
READER = "hf_localhubreader" + "y" * 17


class Refusal(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Dropped(Exception):
    """The connection closes without an answer."""


@dataclass
class Answer:
    """What is sent back; a Path is sent as a file, with ranges."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Logged:
    """One request as the log keeps it."""

    endpoint: str
    method: str
    path: str
    status: int  # 0 where the connection was dropped
    received: int  # bytes of the body
    fault: str


class LocalHub:
    """A Hub at `url`, with its files in a folder. `token` may write, `reader` may not.

    `multipart_bytes`: LFS files above this size are sent in parts of it. `page`: entries per page of a tree.
    """

    def __init__(self, root: Path, multipart_bytes: int = 1 << 40, page: int = PAGE) -> None:
        self.files = LargeFiles(root)
        self.multipart_bytes = multipart_bytes
        self.page = page
        self.repositories: dict[str, Repository] = {}
        self.faults = Faults()
        self.log: list[Logged] = []
        self.bytes_sent = 0  # of the bodies of all answers
        self.tokens = {TOKEN: "write", READER: "read"}
        self.token, self.reader = TOKEN, READER
        self.retry_after_s = 0
        self.signature = ""  # a query that upload URLs carry, as storage has it
        self.cut_content_at: int | None = None  # the next large file breaks off after so many bytes
        self.lock = threading.RLock()
        self.is_up = True
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> LocalHub:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """The Hub is down: open connections break, new ones are refused."""
        if not self.is_up:
            return
        self.is_up = False
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._server.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.files.xet.rename(self.files.xet.with_name("xet-store-down"))

    def fail(
        self,
        endpoint: str,
        kind: str,
        times: int = 1,
        skip: int = 0,
        action: Callable[[], None] | None = None,
    ) -> Fault:
        """Let the next request at an endpoint go wrong; see `faults.Fault`."""
        return self.faults.add(Fault(endpoint, kind, times, skip, action))

    def requests(self, *endpoints: str) -> list[Logged]:
        """The log, or the part of it at these endpoints."""
        return [one for one in self.log if not endpoints or one.endpoint in endpoints]

    def environment(self, home: Path, xet: bool, token: str | None = None) -> dict[str, str]:
        """What a child process needs in its environment to take this for the Hub."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": self.token if token is None else token,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "0" if xet else "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }


# --- one request -------------------------------------------------------------------------------------------------------


@dataclass
class Request:
    """A request, read."""

    hub: LocalHub
    method: str
    path: str
    query: dict[str, list[str]]
    headers: Any
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as JSON."""
        return json.loads(self.body or b"{}")  # type: ignore[no-any-return]

    @property
    def role(self) -> str | None:
        """What the sender may do: 'write', 'read', or None without a token."""
        sent = self.headers.get("Authorization", "")
        if not sent:
            return None
        role = self.hub.tokens.get(sent.removeprefix("Bearer "))
        if role is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return role

    def repository(self, name: str, to_write: bool = False) -> Repository:
        """The repository, if the sender may see it (and write to it)."""
        role = self.role
        found = self.hub.repositories.get(name)
        if found is None or (found.private and role is None):
            raise Refusal(401 if role is None else 404, "Repository not found", "RepoNotFound")
        if to_write and role is None:
            raise Refusal(401, "Invalid username or password.", "RepoNotFound")
        if to_write and role != "write":
            raise Refusal(403, "You don't have the required permissions to perform this action")
        return found

    def commit(self, name: str, revision: str, to_write: bool = False) -> tuple[Repository, Commit]:
        """A commit of a repository."""
        repository = self.repository(name, to_write)
        commit = repository.find(unquote(revision))
        if commit is None:
            raise Refusal(404, f"Invalid rev id: {unquote(revision)}", "RevisionNotFound")
        return repository, commit


Endpoint = Callable[..., Answer]
ROUTES: list[tuple[str, str, re.Pattern[str], Endpoint]] = []
REPO = r"(?P<name>[\w.-]+/[\w.-]+)"


def route(name: str, methods: str, pattern: str) -> Callable[[Endpoint], Endpoint]:
    """Register an endpoint under the name that faults and the log use."""

    def register(function: Endpoint) -> Endpoint:
        for method in methods.split():
            ROUTES.append((name, method, re.compile(pattern.replace("{R}", REPO)), function))
        return function

    return register


@route("whoami", "GET", "/api/whoami-v2")
def whoami(request: Request) -> Answer:
    role = request.role
    if role is None:
        raise Refusal(401, "Invalid username or password.")
    return Answer({"name": "owner", "type": "user", "orgs": [{"name": "org"}], "auth": {"accessToken": {"role": role}}})


@route("create", "POST", "/api/repos/create")
def create_repository(request: Request) -> Answer:
    if request.role is None:
        raise Refusal(401, "Invalid username or password.")
    content = request.json
    name = f"{content.get('organization') or 'owner'}/{content['name']}"
    where = {"url": f"{request.hub.url}/datasets/{name}", "name": name}
    if name in request.hub.repositories:
        return Answer({**where, "error": "You already created this dataset repo"}, 409)
    if request.role != "write" or name.split("/")[0] not in ("owner", "org"):
        raise Refusal(403, f"You don't have the rights to create a dataset under the namespace {name.split('/')[0]!r}")
    private = content.get("visibility") == "private" or bool(content.get("private"))
    request.hub.repositories[name] = Repository(name, private)
    return Answer(where)


@route("validate_yaml", "POST", "/api/validate-yaml")
def validate_yaml(request: Request) -> Answer:
    text = request.json["content"]
    errors = []
    if text.startswith("---\n"):
        try:
            metadata = yaml.safe_load(text.split("---\n", 2)[1])
            if not isinstance(metadata, dict):
                errors.append({"message": "the metadata must be a mapping"})
            elif not isinstance(metadata.get("license", ""), str):
                errors.append({"message": '"license" must be a string'})
        except yaml.YAMLError as error:
            errors.append({"message": str(error)})
    return Answer({"errors": errors, "warnings": []}, 400 if errors else 200)


@route("preupload", "POST", "/api/datasets/{R}/preupload/(?P<revision>[^/]+)")
def preupload(request: Request, name: str, revision: str) -> Answer:
    _, commit = request.commit(name, revision, to_write=True)
    files = []
    for file in request.json["files"]:
        base64.b64decode(file["sample"], validate=True)
        is_large = file["path"].endswith(LARGE_SUFFIXES) or file["size"] > LARGE_BYTES
        known = commit.tree.get(file["path"])
        files.append(
            {
                "path": file["path"],
                "uploadMode": "lfs" if is_large else "regular",
                "shouldIgnore": False,
                **({"oid": known.no_op_oid} if known else {}),
            }
        )
    return Answer({"files": files, "commitOid": commit.oid})


@route("lfs_batch", "POST", r"/datasets/{R}\.git/info/lfs/objects/batch")
def lfs_batch(request: Request, name: str) -> Answer:
    request.repository(name, to_write=True)
    content = request.json
    if content["operation"] != "upload" or len(content["objects"]) > 256:
        raise Refusal(400, "expected an upload of at most 256 objects")
    return Answer({"transfer": "basic", "objects": [_upload_of(request.hub, name, one) for one in content["objects"]]})


def _upload_of(hub: LocalHub, name: str, wanted: dict[str, Any]) -> dict[str, Any]:
    oid, size = wanted["oid"], wanted["size"]
    answer = {"oid": oid, "size": size, "authenticated": True}
    if hub.files.size(oid) is not None:
        return answer
    verify = {"href": f"{hub.url}/lfs-verify/{name}"}
    if size <= hub.multipart_bytes:
        return {**answer, "actions": {"upload": {"href": f"{hub.url}/lfs/{oid}?{hub.signature}"}, "verify": verify}}
    parts = math.ceil(size / hub.multipart_bytes)
    header = {f"{part:05d}": f"{hub.url}/lfs-part/{oid}/{part}" for part in range(1, parts + 1)}
    header["chunk_size"] = str(hub.multipart_bytes)
    upload = {"href": f"{hub.url}/lfs-complete/{oid}", "header": header}
    return {**answer, "actions": {"upload": upload, "verify": verify}}


@route("lfs_put", "PUT", "/lfs/(?P<oid>[0-9a-f]{64})")
def lfs_put(request: Request, oid: str) -> Answer:
    if not request.hub.files.add(oid, request.body):
        raise Refusal(400, "the content is not what its name says")
    return Answer()


@route("lfs_part", "PUT", r"/lfs-part/(?P<oid>[0-9a-f]{64})/(?P<part>\d+)")
def lfs_part(request: Request, oid: str, part: str) -> Answer:
    (request.hub.files.parts / f"{oid}-{int(part)}").write_bytes(request.body)
    return Answer(headers={"ETag": f'"{oid[:8]}-{part}"'})


@route("lfs_complete", "POST", "/lfs-complete/(?P<oid>[0-9a-f]{64})")
def lfs_complete(request: Request, oid: str) -> Answer:
    parts = [part["partNumber"] for part in request.json["parts"]]
    content = b"".join((request.hub.files.parts / f"{oid}-{part}").read_bytes() for part in parts)
    if not request.hub.files.add(oid, content):
        raise Refusal(400, "the content is not what its name says")
    return Answer({})


@route("lfs_verify", "POST", "/lfs-verify/{R}")
def lfs_verify(request: Request, name: str) -> Answer:
    request.repository(name, to_write=True)
    content = request.json
    if request.hub.files.size(content["oid"]) != content["size"]:
        raise Refusal(404, "no such object")
    return Answer({})


@route("xet_token", "GET", "/api/datasets/{R}/xet-(?P<kind>read|write)-token/(?P<revision>[^/]+)")
def xet_token(request: Request, name: str, kind: str, revision: str) -> Answer:
    request.commit(name, revision, to_write=kind == "write")
    url, expires = f"local://{request.hub.files.xet}", int(time.time()) + 3600
    headers = {
        "X-Xet-Cas-Url": url,
        "X-Xet-Access-Token": "xet-token",
        "X-Xet-Token-Expiration": str(expires),
    }
    return Answer({"casUrl": url, "accessToken": "xet-token", "exp": expires}, headers=headers)


@route("commit", "POST", "/api/datasets/{R}/commit/(?P<revision>[^/]+)")
def commit_files(request: Request, name: str, revision: str) -> Answer:
    repository, parent = request.commit(name, revision, to_write=True)
    branch = unquote(revision)
    if branch not in repository.branches:
        raise Refusal(400, "commits go to branches")
    lines = [json.loads(line) for line in request.body.splitlines() if line]
    header = lines[0]["value"]
    if header.get("parentCommit") not in (None, parent.oid):
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    tree = dict(parent.tree)
    for line in lines[1:]:
        _apply(request.hub, tree, line["key"], line["value"])
    commit = repository.add_commit(branch, header["summary"], header.get("description", ""), tree)
    return Answer({"success": True, "commitOid": commit.oid, "commitUrl": _commit_url(request.hub, name, commit)})


def _apply(hub: LocalHub, tree: dict[str, Entry], key: str, value: dict[str, Any]) -> None:
    path = value["path"]
    if key == "file":
        tree[path] = regular(base64.b64decode(value["content"], validate=True))
    elif key == "lfsFile":
        size = hub.files.size(value["oid"])
        if size is None or size != value.get("size", size):
            raise Refusal(400, f"LFS pointer of {path} points to a file that does not exist")
        tree[path] = large(value["oid"], size)
    elif key == "deletedFile":
        if path not in tree:
            raise Refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        del tree[path]
    elif key == "deletedFolder":
        for found in [one for one in tree if one.startswith(path.rstrip("/") + "/")]:
            del tree[found]
    else:
        raise Refusal(400, f"unknown operation {key}")


def _commit_url(hub: LocalHub, name: str, commit: Commit) -> str:
    return f"{hub.url}/datasets/{name}/commit/{commit.oid}"


@route("tag", "POST", "/api/datasets/{R}/tag/(?P<revision>[^/]+)")
def add_tag(request: Request, name: str, revision: str) -> Answer:
    repository, commit = request.commit(name, revision, to_write=True)
    tag = request.json["tag"]
    if tag in repository.tags:
        raise Refusal(409, "Tag reference exists already")
    repository.tags[tag] = commit.oid
    return Answer({})


@route("tag_delete", "DELETE", "/api/datasets/{R}/tag/(?P<tag>[^/]+)")
def delete_tag(request: Request, name: str, tag: str) -> Answer:
    if request.repository(name, to_write=True).tags.pop(unquote(tag), None) is None:
        raise Refusal(404, "no such tag", "RevisionNotFound")
    return Answer({})


@route("branch", "POST", "/api/datasets/{R}/branch/(?P<branch>[^/]+)")
def add_branch(request: Request, name: str, branch: str) -> Answer:
    repository, start = request.commit(name, request.json.get("startingPoint") or "main", to_write=True)
    if unquote(branch) in repository.branches:
        raise Refusal(409, "Reference already exists")
    repository.branches[unquote(branch)] = start.oid
    return Answer({})


@route("branch_delete", "DELETE", "/api/datasets/{R}/branch/(?P<branch>[^/]+)")
def delete_branch(request: Request, name: str, branch: str) -> Answer:
    if request.repository(name, to_write=True).branches.pop(unquote(branch), None) is None:
        raise Refusal(404, "no such branch", "RevisionNotFound")
    return Answer({})


@route("refs", "GET", "/api/datasets/{R}/refs")
def refs(request: Request, name: str) -> Answer:
    repository = request.repository(name)
    kinds = {"branches": ("heads", repository.branches), "tags": ("tags", repository.tags)}
    return Answer(
        {
            **{
                kind: [
                    {"name": one, "ref": f"refs/{word}/{one}", "targetCommit": oid} for one, oid in sorted(all_.items())
                ]
                for kind, (word, all_) in kinds.items()
            },
            "converts": [],
        }
    )


@route("info", "GET", "/api/datasets/{R}(/revision/(?P<revision>[^/]+))?")
def info(request: Request, name: str, revision: str | None = None) -> Answer:
    repository, commit = request.commit(name, revision or "main")
    return Answer(
        {
            "id": name,
            "author": name.split("/")[0],
            "sha": commit.oid,
            "private": repository.private,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": path} for path in sorted(commit.tree)],
            "lastModified": commit.date,
            "createdAt": commit.date,
        }
    )


@route("commits", "GET", "/api/datasets/{R}/commits/(?P<revision>[^/]+)")
def commits(request: Request, name: str, revision: str) -> Answer:
    repository, commit = request.commit(name, revision)
    return Answer(
        [
            {
                "id": one.oid,
                "title": one.title,
                "message": one.message,
                "date": one.date,
                "authors": [{"user": "owner"}],
            }
            for one in repository.history(commit)
        ]
    )


@route("tree", "GET", "/api/datasets/{R}/tree/(?P<revision>[^/]+)(/(?P<folder>.+))?")
def tree(request: Request, name: str, revision: str, folder: str | None = None) -> Answer:
    _, commit = request.commit(name, revision)
    prefix = f"{unquote(folder).rstrip('/')}/" if folder else ""
    paths = sorted(path for path in commit.tree if path.startswith(prefix))
    if prefix and not paths:
        raise Refusal(404, f"{prefix} does not exist on {revision}", "EntryNotFound")
    is_recursive = request.query.get("recursive", ["false"])[0].lower() in ("true", "1")
    entries = list(_entries(request.hub, commit, paths, prefix, is_recursive))
    start = int(request.query.get("cursor", ["0"])[0])
    shown = entries[start : start + request.hub.page]
    headers = {}
    if start + request.hub.page < len(entries):
        query = f"recursive={'true' if is_recursive else 'false'}&cursor={start + request.hub.page}"
        headers["Link"] = f'<{request.hub.url}{quote(request.path)}?{query}>; rel="next"'
    return Answer(shown, headers=headers)


def _entries(
    hub: LocalHub, commit: Commit, paths: list[str], prefix: str, is_recursive: bool
) -> Iterable[dict[str, Any]]:
    folders = set()
    for path in paths:
        inner = path.removeprefix(prefix).split("/")[:-1]
        depths = range(1, len(inner) + 1) if is_recursive else range(1, min(1, len(inner)) + 1)
        for depth in depths:
            folder = prefix + "/".join(inner[:depth])
            if folder not in folders:
                folders.add(folder)
                yield {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder}
        if is_recursive or not inner:
            yield _file(hub, path, commit.tree[path])


def _file(hub: LocalHub, path: str, entry: Entry) -> dict[str, Any]:
    answer: dict[str, Any] = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    if entry.sha256:
        answer["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 130}
        xet = hub.files.xet_hash(entry.sha256)
        answer |= {"xetHash": xet} if xet else {}
    return answer


@route("paths_info", "POST", "/api/datasets/{R}/paths-info/(?P<revision>[^/]+)")
def paths_info(request: Request, name: str, revision: str) -> Answer:
    _, commit = request.commit(name, revision)
    paths = parse_qs(request.body.decode()).get("paths", [])
    if len(paths) > 1000:
        raise Refusal(413, "too many parameters")
    found = [_file(request.hub, path, commit.tree[path]) for path in paths if path in commit.tree]
    folders = {path for path in paths if any(one.startswith(path + "/") for one in commit.tree)}
    return Answer(found + [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in sorted(folders)])


@route("resolve", "GET HEAD", "/datasets/{R}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(request: Request, name: str, revision: str, path: str) -> Answer:
    _, commit = request.commit(name, revision)
    path = unquote(path)
    entry = commit.tree.get(path)
    if entry is None:
        raise Refusal(404, f"Entry not found: {path}", "EntryNotFound")
    headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{entry.sha256 or entry.oid}"'}
    if entry.sha256 is None:
        return Answer(entry.content, headers=headers)
    headers |= {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
    xet = request.hub.files.xet_hash(entry.sha256)
    if xet:
        token = f"{request.hub.url}/api/datasets/{name}/xet-read-token/{commit.oid}"
        headers |= {"X-Xet-Hash": xet, "Link": f'<{token}>; rel="xet-auth"'}
    # Another origin, as the real Hub has it: clients must not send their token there.
    headers["Location"] = f"http://localhost:{request.hub.port}/content/{entry.sha256}"
    return Answer(b"", 302, headers)


@route("content", "GET HEAD", "/content/(?P<oid>[0-9a-f]{64})")
def content(request: Request, oid: str) -> Answer:
    if request.headers.get("Authorization"):
        raise Refusal(400, "a token was sent to another origin")
    if request.hub.files.size(oid) is None:
        raise Refusal(404, "no such object", "EntryNotFound")
    return Answer(request.hub.files.file(oid), headers={"ETag": f'"{oid}"'})


# --- HTTP --------------------------------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    hub: LocalHub

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connections: set[socket.socket] = set()

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed leave broken connections: no noise."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _serve(self) -> None:
        hub = self.server.hub
        parts = urlsplit(self.path)
        request = Request(hub, self.command, parts.path, parse_qs(parts.query), self.headers, self._read_body())
        name, function, values = _find(request)
        fault = hub.faults.take(name)
        try:
            answer = self._answer(request, function, values, fault)
        except Dropped:
            self._log(request, name, 0, fault)
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, headers, body = self._prepare(answer)
        self._log(request, name, status, fault)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._send(status, headers, body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve

    def _log(self, request: Request, name: str, status: int, fault: Fault | None) -> None:
        kind = fault.kind if fault else ""
        self.server.hub.log.append(Logged(name, request.method, self.path, status, len(request.body), kind))

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(
        self, request: Request, function: Endpoint | None, values: dict[str, str], fault: Fault | None
    ) -> Answer:
        try:
            if fault and not fault.is_after:
                self._happen(fault)
            answer = self._call(request, function, values)
            if fault and fault.is_after:
                self._happen(fault)
        except Refusal as refusal:
            return _refused(refusal, request.hub)
        return answer

    def _happen(self, fault: Fault) -> None:
        if fault.action:
            fault.action()
        if fault.what == "drop":
            raise Dropped
        if fault.what in STATUSES:
            raise Refusal(STATUSES[fault.what], "A fault on demand")

    def _call(self, request: Request, function: Endpoint | None, values: dict[str, str]) -> Answer:
        if function is None:
            return _refused(Refusal(404, f"no such endpoint: {request.method} {request.path}"), request.hub)
        try:
            with request.hub.lock:
                return function(request, **{key: value for key, value in values.items() if value is not None})
        except Refusal as refusal:
            return _refused(refusal, request.hub)

    def _prepare(self, answer: Answer) -> tuple[int, dict[str, str], bytes]:
        headers = dict(answer.headers)
        body = answer.body
        if isinstance(body, Path):
            body = body.read_bytes()
        elif not isinstance(body, bytes):
            body = b"" if body is None else json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json; charset=utf-8")
        status = answer.status
        headers["Accept-Ranges"] = "bytes"
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if wanted and status == 200:
            start, end = _range(wanted[1], wanted[2], len(body))
            if start >= len(body):
                status, body = 416, b""
            else:
                headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
                status, body = 206, body[start : end + 1]
        return status, headers, body

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.server.hub.cut_content_at
        if cut is not None and self.path.startswith("/content/") and len(body) > cut:
            self.server.hub.cut_content_at = None
            self.wfile.write(body[:cut])
            self.close_connection = True
            return
        self.server.hub.bytes_sent += len(body)
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """The log is kept in memory instead."""


def _find(request: Request) -> tuple[str, Endpoint | None, dict[str, str]]:
    for name, method, pattern, function in ROUTES:
        match = pattern.fullmatch(request.path)
        if match and method == request.method:
            return name, function, match.groupdict()
    return "unknown", None, {}


def _refused(refusal: Refusal, hub: LocalHub) -> Answer:
    headers = {"X-Error-Message": refusal.message}
    if refusal.code:
        headers["X-Error-Code"] = refusal.code
    if refusal.status == 429:
        headers["Retry-After"] = str(hub.retry_after_s)
    return Answer({"error": refusal.message}, refusal.status, headers)


def _range(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last) if last else size - 1, size - 1)
