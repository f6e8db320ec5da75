"""A stand-in for a W&B server: real HTTP, and the part of the protocol that runs need.

What wandb-core 0.31 asks for: ``UpsertBucket`` as a run begins and as its tags or its configuration
change, ``RunResumeStatus`` where one is resumed, ``CreateRunFiles``, the file stream (rows,
summary, end), and, of the public API, one run. It can be slow, refuse, drop connections, or hang.
"""

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Fault = Literal["none", "slow", "refuse", "drop", "hang"]
SLOW_SECONDS = 0.7


@dataclass
class ServedRun:
    """A run as the server has it."""

    project: str
    fields: dict[str, Any] = field(default_factory=dict)  # of the last upsertBucket
    rows: dict[int, str] = field(default_factory=dict)  # by place in the history
    row_times: list[float] = field(default_factory=list)  # when each came in
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """Its rows, each a dict."""
        return [json.loads(self.rows[place]) for place in sorted(self.rows)]

    @property
    def config(self) -> dict[str, Any]:
        """Its configuration, plain."""
        raw = json.loads(self.fields.get("config") or "{}")
        return {name: entry["value"] for name, entry in raw.items() if name != "_wandb"}

    @property
    def state(self) -> str:
        """As W&B calls it."""
        return {None: "running", 0: "finished"}.get(self.exit_code, "failed")

    def take(self, stream: dict[str, Any]) -> None:
        """Takes what the file stream brings."""
        files = stream.get("files") or {}
        if history := files.get("wandb-history.jsonl"):
            for place, line in enumerate(history["content"], history["offset"]):
                self.rows[place] = line
                self.row_times.append(time.time())
        if summary := files.get("wandb-summary.json"):
            self.summary = json.loads(summary["content"][-1])
        if stream.get("complete"):
            self.exit_code = stream.get("exitcode", 0)
        else:
            self.exit_code = None


class WandbServer(ThreadingHTTPServer):
    """Serves on a free port of this machine, as a context manager, from a thread of its own.

    Attributes:
        fault: How requests are treated; may be changed at any time.
        runs: By id.
        bodies: Of all requests, with their paths and headers, for a search through them; without
            the header that is to hold the key.
    """

    daemon_threads = True

    def __init__(self, fault: Fault = "none") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fault: Fault = fault
        self.runs: dict[str, ServedRun] = {}
        self.bodies: list[bytes] = []
        self.released = threading.Event()  # ends what hangs

    @property
    def url(self) -> str:
        """For ``WANDB_BASE_URL``."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> "WandbServer":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""

    def answer(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        """Returns the data of a GraphQL answer."""
        if "upsertBucket" in query:
            return {"upsertBucket": {"bucket": self._upsert(given), "inserted": True}}
        if "RunResumeStatus" in query:
            return {"model": {"bucket": self._resume(given["name"])}}
        if "createRunFiles" in query:
            files = [{"name": n, "uploadUrl": f"{self.url}/upload/{n}"} for n in given["files"]]
            return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
        if "query Run(" in query or "query RunHistoryKeys" in query:
            return {"project": {"internalId": "1", "run": self._describe(given["name"])}}
        if "viewer" in query:
            return {"viewer": {"id": "u", "entity": "team", "username": "u", "flags": "{}"}}
        return {}

    def _upsert(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(given["name"], ServedRun(given["project"]))
        run.fields |= {name: value for name, value in given.items() if value is not None}
        return {
            "id": "1",
            "name": given["name"],
            "displayName": given["displayName"],
            "config": run.fields.get("config"),
            "project": {"name": given["project"], "entity": {"name": "team"}},
            "historyLineCount": len(run.rows),
        }

    def _resume(self, name: str) -> dict[str, Any] | None:
        run = self.runs.get(name)
        if run is None:
            return None
        tail = [run.rows[place] for place in sorted(run.rows)][-1:]
        return {
            "id": "1",
            "name": name,
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.fields.get("displayName"),
            "logLineCount": 0,
            "historyLineCount": len(run.rows),
            "eventsLineCount": 0,
            "historyTail": json.dumps(tail),
            "eventsTail": "[]",
            "config": run.fields.get("config"),
            "tags": run.fields.get("tags") or [],
            "wandbConfig": '{"t": 1}',
        }

    def _describe(self, name: str) -> dict[str, Any] | None:
        run = self.runs.get(name)
        if run is None:
            return None
        return {
            "id": "1",
            "name": name,
            "state": run.state,
            "tags": run.fields.get("tags") or [],
            "config": run.fields.get("config"),
            "historyLineCount": len(run.rows),
            "historyKeys": {"lastStep": max((row["_step"] for row in run.history), default=-1)},
            "summaryMetrics": json.dumps(run.summary),
            "user": {"name": "u", "username": "u"},
        }


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told = [f"{k}: {v}" for k, v in self.headers.items() if k != "Authorization"]
        self.server.bodies.append("\n".join([self.path, *told, ""]).encode() + body)
        fault = self.server.fault
        if fault == "slow":
            self.server.released.wait(SLOW_SECONDS)
        elif fault == "hang":
            self.server.released.wait()
        if fault in ("drop", "hang"):
            self.close_connection = True
            return
        self._reply(403 if fault == "refuse" else 200, self._content(body, fault))

    def _content(self, body: bytes, fault: Fault) -> bytes:
        if fault == "refuse":
            return b'{"errors": [{"message": "permission denied"}]}'
        if self.path == "/graphql":
            asked = json.loads(body)
            data = self.server.answer(asked["query"], asked.get("variables") or {})
            return json.dumps({"data": data}).encode()
        if self.path.endswith("/file_stream"):
            self.server.runs[self.path.split("/")[-2]].take(json.loads(body))
        return b"{}"

    def _reply(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _serve  # noqa: N815 - http.server's names
