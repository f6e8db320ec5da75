"""``phasewise dashboard``: the studies as a live page, for this machine only."""

import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from phasewise.cli.options import DEFAULT_STUDY
from phasewise.errors import ConfigError

#: Where `dashboard` is found unless it is told otherwise; 0 takes any free port.
_PORT = 8765


def dashboard(
    studies: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[STUDY]...",
            help="Study files or names; default: those with results in this folder.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any that is free.")
    ] = _PORT,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    optuna: Annotated[
        bool,
        typer.Option("--optuna", help="Show a copy of the trials in optuna-dashboard."),
    ] = False,
) -> None:
    """Show studies as a live page while they run and afterwards; read-only, 127.0.0.1 only."""
    chosen = studies or _find_studies() or [DEFAULT_STUDY]
    if optuna:
        from phasewise.dashboard.optuna_copy import show_copy

        show_copy(chosen, port)
        return
    with _bind(port) as listener:
        _serve(chosen, listener, show=show)


def _serve(studies: list[Path], listener: socket.socket, *, show: bool) -> None:
    from phasewise.dashboard.server import make_server
    from phasewise.dashboard.watch import StudyWatch

    server = make_server([StudyWatch(path) for path in studies])
    port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    typer.echo(f"{url}  (Ctrl-C ends it; from elsewhere: ssh -L {port}:127.0.0.1:{port} HOST)")
    if show:
        typer.launch(url)
    with suppress(KeyboardInterrupt):  # the way to end it; uvicorn has closed its connections
        server.run(sockets=[listener])


def _bind(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()  # a page that is opened at once waits for its answer
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"--port {port}: {error.strerror}; expected a free one: --port 0 takes any"
        ) from error
    return listener


def _find_studies() -> list[Path]:
    """Returns the files of the studies whose results lie in this folder."""
    found = []
    for path in sorted(Path("experiments").glob("*/study.json")):
        try:
            file = Path(json.loads(path.read_text(encoding="utf-8"))["file"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found += [file] if file.is_file() else []
    return found
