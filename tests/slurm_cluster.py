"""A real SLURM cluster of a test's own on one machine: munged, slurmctld and a slurmd per node.

Each node is a namespace of processes with a host name of its own, so that it can be cut off from
power, or hang, with everything that runs on it. All lies in a temporary folder, at free ports.
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil

from phasewise.training.ranks import find_port
from postgres import skip_loudly

#: A node that is not heard of for so long (seconds) is down, and its job goes to another.
DOWN_SECONDS = 10
#: From SIGTERM to SIGKILL, in seconds.
_KILL_SECONDS = 5
#: A job that is put back stays in the queue until its old credential has expired.
_CREDENTIAL_SECONDS = 10
_START_SECONDS = 30.0
_DAEMONS = ("munged", "slurmctld", "slurmd")
#: Snakemake's plugin drops SLURM_CONF from its environment: each of these sets it again.
_COMMANDS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
_PATH = f"{os.environ['PATH']}:/usr/sbin"
#: Runs a command as the first process of a machine of its own, by its processes and its name.
_SPACE = ("unshare", "--pid", "--uts", "--mount", "--fork", "--kill-child", "--mount-proc")
_CONFIG = """
ClusterName=phasewise
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={credential}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=1
SlurmdParameters=config_overrides
SlurmdTimeout={down}
KillWait={kill}
MinJobAge=86400
ReturnToService=2
NodeName=DEFAULT CPUs=4 RealMemory=16000
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=60
"""
#: The first process of a node; all others end with it.
_NODE = 'hostname "$1" && slurmd -D -f "$2" -N "$1"; exit'


class Cluster:
    """The cluster; ``environment`` lets programs reach it.

    Args:
        folder: For everything of its own.
    """

    nodes = ("n1", "n2")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o755)  # munged wants its socket to be reachable
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._config = folder / "slurm.conf"
        self._write_config()
        self.environment = {"PATH": f"{self._write_commands()}:{os.environ['PATH']}"}
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends everything, what runs on the nodes too."""
        for name in reversed(list(self._processes)):
            self._end(name)

    def call(self, program: str, *arguments: str) -> str:
        """Returns what one of SLURM's commands prints."""
        done = subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise OSError(f"{program} {' '.join(arguments)}: {done.stderr}; see {self.folder}")
        return done.stdout

    def start_node(self, name: str) -> None:
        """Switches a node on."""
        self._spawn(name, [*_SPACE, "bash", "-c", _NODE, "node", name, str(self._config)])

    def kill_node(self, name: str) -> None:
        """Cuts the power: all its processes are gone at once."""
        self._end(name)

    def processes(self, name: str) -> list[psutil.Process]:
        """Returns everything on a node, slurmd first."""
        (first,) = psutil.Process(self._processes[name].pid).children()
        return first.children(recursive=True)

    def await_idle(self) -> None:
        """Waits until all nodes are there and free."""
        wanted = len(self.nodes)
        _await(lambda: self.call("sinfo", "-hN", "-t", "idle", "-o", "%N").count("n") == wanted)

    def _start(self) -> None:
        own = f"--{{}}={self.folder}/munge.{{}}"
        options = [own.format(f"{name}-file", name) for name in ("key", "pid", "log", "seed")]
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (self.folder / "munge.key").chmod(0o400)
        self._spawn("munged", ["munged", "-F", "-S", f"{self.folder}/munge.socket", *options])
        _await((self.folder / "munge.socket").exists)
        self._spawn("slurmctld", ["slurmctld", "-D", "-f", str(self._config)])
        for name in self.nodes:
            self.start_node(name)
        self.await_idle()

    def _spawn(self, name: str, words: list[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *words],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": _PATH},
                start_new_session=True,
            )

    def _end(self, name: str) -> None:
        process = self._processes.pop(name)
        if name in self.nodes:
            process.kill()
        else:
            process.terminate()  # it ends its own children
        process.wait()

    def _write_config(self) -> None:
        host = socket.gethostname().split(".")[0]
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={find_port()}"
            for name in self.nodes
        )
        (self.folder / "state").mkdir()
        self._config.write_text(
            _CONFIG.format(
                host=host,
                port=find_port(),
                folder=self.folder,
                nodes=nodes,
                credential=_CREDENTIAL_SECONDS,
                down=DOWN_SECONDS,
                kill=_KILL_SECONDS,
            )
        )

    def _write_commands(self) -> Path:
        folder = self.folder / "bin"
        folder.mkdir()
        for command in _COMMANDS:
            text = f'#!/bin/sh\nSLURM_CONF={self._config} exec {shutil.which(command)} "$@"\n'
            (folder / command).write_text(text)
            (folder / command).chmod(0o755)
        return folder


def _await(is_there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):  # nobody listens yet
            if is_there():
                return
        time.sleep(0.1)
    raise OSError(f"SLURM is not ready after {_START_SECONDS:.0f} s")


@contextmanager
def run_slurm() -> Iterator[Cluster]:
    """Gives a cluster; skips the test, loudly, where its programs or rights are missing."""
    programs = (*_DAEMONS, *_COMMANDS)
    missing = [name for name in programs if shutil.which(name, path=_PATH) is None]
    if missing:
        skip_loudly(f"no {', '.join(missing)}; Debian: apt-get install slurm-wlm munge")
    if (
        os.geteuid() != 0
        or subprocess.run([*_SPACE, "hostname", "n1"], capture_output=True).returncode
    ):
        skip_loudly("a SLURM cluster of namespaces needs root and the right to make them")
    with (
        tempfile.TemporaryDirectory(prefix="phasewise-slurm-", ignore_cleanup_errors=True) as name,
        closing(Cluster(Path(name))) as cluster,
    ):
        yield cluster
