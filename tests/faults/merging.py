"""The line about a merge that is killed."""

import signal
import sys
import time
from pathlib import Path

import yaml

from faults.checker import Verdict
from faults.lines import Bench, Row
from faults.world import Try


def kill_merge(bench: Bench) -> Row:
    """Kills ``phasewise merge`` at random moments; calls again bring all, as it was."""
    source = bench.world.study()
    assert source.call() == 0, source.output.read_text()
    broken: list[str] = []
    left = 0
    for number in range(bench.tries):
        target = bench.world.base / f"clone-{bench.world.count}-{number}"
        target.mkdir()
        content = yaml.safe_load((source.folder / "study.yaml").read_text())
        content |= {"experiments_dir": "experiments", "analysis_dir": "analysis"}
        (target / "study.yaml").write_text(yaml.safe_dump(content))
        study = Try(target, target, f"merge-{number}")
        words = [sys.executable, "-c", _IN.format(folder=str(target)), "merge"]
        words += ["--study", "study.yaml", str(source.folder)]
        for again in (False, False, True):
            process = study.spawn(words)
            if not again:
                time.sleep(bench.random.uniform(0.3, 1.0) * bench.seconds / 2)
                process.send_signal(signal.SIGKILL)
            code = study.wait(process)
        if code or _snapshot(target) != _snapshot(source.folder):
            broken.append(f"exit code {code} or other files; see {study.output}")
        left += study.count_left(None)
    return Row(bench.tries, Verdict(broken=tuple(broken)), left)


#: The command as a user calls it, from the clone's own folder.
_IN = "import os; os.chdir({folder!r}); from phasewise.cli import main; main()"


def _snapshot(clone: Path) -> dict[str, tuple[bytes, int]]:
    """Records, journal and optimum with their times."""
    found = {}
    for path in [
        *clone.glob("experiments/faults/*/*/**/*"),
        *clone.glob("analysis/*_optimal.yaml"),
    ]:
        if path.is_file() and not path.name.endswith((".lock", "workers.log")):
            name = str(path.relative_to(clone))
            found[name] = path.read_bytes(), path.stat().st_mtime_ns
    return {name: value for name, value in found.items() if not Path(name).name.startswith(".")}
