"""The server of the live pages: it only reads, and only for this machine."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from threading import Lock
from typing import TypeVar, get_args

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phasewise.dashboard import pages
from phasewise.dashboard.board import RunLink
from phasewise.dashboard.watch import StudyWatch
from phasewise.errors import PhasewiseError
from phasewise.runs import Phase, UnitPaths

_T = TypeVar("_T")
#: Names of this machine; a page of another site that was resolved to it asks for its own.
HOSTS = ("127.0.0.1", "localhost")
#: Seconds between two looks at the files of a study.
_PERIOD = 1.0
#: Seconds that open pages have when the server ends; each notices within a period.
_GRACE = 5
#: Looks without news after which a comment keeps the connection open.
_QUIET = 15
_DRAWING = Lock()
_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data: blob:; style-src 'self' "
    "'unsafe-inline'; script-src 'self'{nonce}; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    b"content-security-policy": _POLICY.format(nonce="").encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-cache",
}


def make_app(watches: Sequence[StudyWatch]) -> Starlette:
    """Returns the application that shows some studies, each under ``/study/NAME/``."""
    of_study = "/study/{study}"
    of_run = of_study + "/run/{task}/{method}/{phase}/{run}"
    routes: list[Route | Mount] = [
        Route("/", _show_index),
        Route("/assets/{name}", _send_asset),
        Route(f"{of_study}/", _show_board),
        Route(f"{of_study}/events", _follow_board),
        Route(f"{of_study}/unit/{{task}}/{{method}}", _send_unit),
        Route(f"{of_run}/", _show_run),
        Route(f"{of_run}/events", _follow_run),
        Route(f"{of_study}/report", _show_report),
    ]
    for watch in watches:
        folder = watch.study.settings.experiments_path.absolute()
        files = _Files(directory=folder, check_dir=False)
        routes.append(Mount(f"/study/{watch.name}/experiments", files))
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False),
            Middleware(_GuardHeaders),
            Middleware(GZipMiddleware, minimum_size=2000),
        ],
        exception_handlers={PhasewiseError: _explain},
    )
    app.state.studies = {watch.name: watch for watch in watches}
    app.state.is_ending = lambda: False
    return app


def make_server(watches: Sequence[StudyWatch]) -> uvicorn.Server:
    """Returns the server of these studies; open pages do not hold up its end."""
    app = make_app(watches)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE
    )
    server = uvicorn.Server(config)
    app.state.is_ending = lambda: server.should_exit
    return server


async def _show_index(request: Request) -> Response:
    studies = request.app.state.studies
    if len(studies) == 1:
        return RedirectResponse(f"/study/{next(iter(studies))}/")
    boards = await _call(lambda: [watch.board() for watch in studies.values()])
    return HTMLResponse(pages.render_index(boards))


async def _show_board(request: Request) -> Response:
    watch = _find_study(request)
    fragment = await _call(pages.render_board, watch)
    return HTMLResponse(pages.render_page(watch, fragment, watch.name, None))


async def _follow_board(request: Request) -> Response:
    watch = _find_study(request)
    return _stream(request, lambda: pages.render_board(watch))


async def _send_unit(request: Request) -> Response:
    watch = _find_study(request)
    found = await _call(pages.render_unit, watch, *_find_unit(watch, request))
    return Response(json.dumps(found._asdict()), media_type="application/json")


async def _show_run(request: Request) -> Response:
    watch = _find_study(request)
    link = _find_run(watch, request)
    fragment = await _call(_render_run, watch, link)
    return HTMLResponse(pages.render_page(watch, fragment, link.run, link))


async def _follow_run(request: Request) -> Response:
    watch = _find_study(request)
    link = _find_run(watch, request)
    return _stream(request, lambda: _render_run(watch, link))


async def _show_report(request: Request) -> Response:
    nonce = secrets.token_urlsafe()
    html = await _call(pages.render_report, _find_study(request), nonce)
    policy = _POLICY.format(nonce=f" 'nonce-{nonce}'")
    return HTMLResponse(html, headers={"content-security-policy": policy})


class _Files(StaticFiles):
    """Files of a study's folder; links out of it are not followed, nothing in them is run."""

    def file_response(self, *arguments: object, **keywords: object) -> Response:
        response = super().file_response(*arguments, **keywords)  # type: ignore[arg-type]
        response.headers["content-security-policy"] = "default-src 'none'; sandbox"
        return response


class _GuardHeaders:
    """Adds the headers that keep other sites out, unless a response has its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                missing = [(n, v) for n, v in _HEADERS.items() if n not in given]
                message["headers"] = [*message["headers"], *missing]
            await send(message)

        await self._app(scope, receive, add)


def _stream(request: Request, render: Callable[[], pages.Fragment]) -> Response:
    """Sends a fragment whenever it has changed, as server-sent events."""

    async def events() -> AsyncIterator[str]:
        last, quiet = "", 0
        while not request.app.state.is_ending():
            try:
                found = (await _call(render))._asdict()
            except (PhasewiseError, HTTPException, OSError) as error:
                found = {"problem": str(getattr(error, "detail", error))}
            text = json.dumps(found, separators=(",", ":"))
            quiet = 0 if text != last else quiet + 1
            if text != last:
                yield f"data: {text}\n\n"
            elif quiet % _QUIET == 0:
                yield ": nothing new\n\n"
            last = text
            await asyncio.sleep(_PERIOD)

    return StreamingResponse(events(), media_type="text/event-stream")


async def _call(function: Callable[..., _T], *arguments: object) -> _T:
    """Returns what a function returns, in a thread; one at a time, since plotly bears no other.

    Its first figure imports pandas, and a second thread then meets half of it.
    """

    def locked() -> _T:
        with _DRAWING:
            return function(*arguments)

    return await run_in_threadpool(locked)


async def _send_asset(request: Request) -> Response:
    found = await _call(pages.make_asset, request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    return Response(found[0], media_type=found[1])


async def _explain(request: Request, error: Exception) -> Response:
    return Response(str(error), 500, media_type="text/plain")


def _find_study(request: Request) -> StudyWatch:
    name = request.path_params["study"]
    found: StudyWatch | None = request.app.state.studies.get(name)
    if found is None:
        raise HTTPException(404, f"no study {name}")
    return found


def _find_unit(watch: StudyWatch, request: Request) -> tuple[str, str]:
    task, method = request.path_params["task"], request.path_params["method"]
    if task not in watch.study.tasks or method not in watch.study.methods:
        raise HTTPException(404, f"no unit {task}/{method}")
    return task, method


def _find_run(watch: StudyWatch, request: Request) -> RunLink:
    """A run's name is that of one folder: what a URL says leads nowhere else."""
    task, method = _find_unit(watch, request)
    phase, run = request.path_params["phase"], request.path_params["run"]
    if phase not in get_args(Phase) or run in {"", ".", ".."} or {"/", "\\", "\0"} & set(run):
        raise HTTPException(404, f"no run {phase}/{run}")
    paths = UnitPaths(watch.study, task, method)
    if not paths.run(phase, run).resolve().is_relative_to(paths.root.resolve()):
        raise HTTPException(404, f"no run {phase}/{run}")
    return RunLink(task, method, phase, run)


def _render_run(watch: StudyWatch, link: RunLink) -> pages.Fragment:
    found = pages.render_run(watch, link)
    if found is None:
        raise HTTPException(404, f"no run {link.phase}/{link.run}")
    return found
