"""The study, its units and the paths that more than one rule file names.

REQUIRED CONFIG: study (a YAML file; default shared/config.yaml), vm (a shard of it, or `all`).
"""

import sys
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError

from phasewise.errors import PhasewiseError
from phasewise.settings import load_study
from phasewise.steps import REPORT_TABLES, StepKey, Steps
from phasewise.training.server_process import pass_on_term, share_server

STUDY_FILE = config.get("study", "shared/config.yaml")
VM = config.get("vm")

try:
    STUDY = load_study(STUDY_FILE)
    TASKS = STUDY.tasks_of(VM)
    UNITS = STUDY.units_of(VM)
    # Fingerprints data and model too, so that a missing file is refused before anything runs.
    STEPS = Steps(STUDY, VM)
    STEPS.note_settings()
except PhasewiseError as error:
    raise WorkflowError(str(error))

EXPERIMENTS = str(STUDY.settings.experiments_path)
ANALYSIS = str(STUDY.settings.analysis_path)

SETTINGS = str(STEPS.settings_file)
DATA_CHECK = EXPERIMENTS + f"/checked_{VM}.json"
TASK_BASELINES = EXPERIMENTS + "/{task}/baselines.json"
PHASE0_SUMMARY = EXPERIMENTS + "/{task}/{method}/phase0.json"
OPTIMUM = ANALYSIS + "/{task}_{method}_optimal.yaml"
PHASE2_SUMMARY = EXPERIMENTS + "/{task}/{method}/phase2.json"
REPORT = ANALYSIS + "/report.html"


def as_word(value):
    """Returns a value as one word of a shell command, which Snakemake will format."""
    return quote(str(value)).replace("{", "{{").replace("}", "}}")


# Put into commands as text: names of a Snakefile that is used as a module are unknown there.
STUDY_WORD, VM_WORD = as_word(STUDY_FILE), as_word(VM)

# Jobs find the `phasewise` of the environment that snakemake itself runs in.
COMMAND_PATH = f"export PATH={quote(str(Path(sys.executable).parent))}:$PATH"
# A cluster's time limit kills a job's inner snakemake and leaves the controller no time: it gets
# its own SIGTERM a minute before (of short limits: halfway), and saves what runs.
LIMIT = "$(( m > 2 ? m * 60 - 60 : m * 30 ))"
LIMITED = f"timeout --signal=TERM --kill-after=45 --preserve-status {LIMIT}"
# Exit code 75: there was progress, or another controller works on the unit. SLURM then queues the
# same job again, which snakemake sees as one that waits; no retry is used up.
REQUEUE = 'j=$(printenv SLURM_JOB_ID) && scontrol requeue "$j" && sleep 300'
AGAIN = f"c=$?; if test $c = 75; then {REQUEUE}; fi; exit $c"
# While it waits for another controller a job holds an allocation; a dead one's lease ends sooner.
AS_JOB = f'export PHASEWISE_WAIT_MINUTES=1.5; {LIMITED} "$@" || ( {AGAIN} )'
HERE = 'exec "$@"'
WITHIN_MINUTES = f"m=$1; shift; {AS_JOB if workflow.remote_exec else HERE}"
shell.prefix(f"{COMMAND_PATH}; within_minutes() ( {WITHIN_MINUTES} ); ")


onstart:
    # Workers of all local jobs are forked from one process that has imported torch once.
    if workflow.local_exec and workflow.is_main_process:
        pass_on_term(share_server())


onsuccess:
    # The last words are the verdict's, where a report says what the records say now.
    verdict = Path(ANALYSIS) / "verdict.txt"
    if (
        verdict.is_file()
        and Steps(STUDY, VM).all[StepKey("report")].state == "current"
    ):
        print(verdict.read_text(encoding="utf-8"), end="")


wildcard_constraints:
    task="|".join(STUDY.tasks),
    method="|".join(STUDY.methods),


def task_files(pattern):
    """Returns the files of this machine's tasks."""
    return expand(pattern, task=TASKS)


def unit_files(pattern):
    """Returns the files of this machine's units."""
    return [pattern.format(task=task, method=method) for task, method in UNITS]


def needed_by(step, *patterns):
    """Returns an input function; the files' times count only if the step has to run.

    The hashes in the steps' files say which do (phasewise.steps): a copied study has other times,
    and after an edit a file may be newer than what it should be made from.

    A rule names the files of all steps before it, not of the last ones alone: Snakemake leaves out
    what hangs on a job that runs only through one that does not.
    """

    def choose(wildcards):
        key = StepKey(step, wildcards.get("task", ""), wildcards.get("method", ""))
        files = [pattern.format(**wildcards) for pattern in patterns]
        return files if key in STEPS.due else [ancient(file) for file in files]

    return choose


def resource(name):
    """Returns a resources function: what the study asks of a cluster for the unit's jobs."""
    return lambda wildcards: getattr(
        STUDY.resources_of(wildcards.task, wildcards.method), name
    )
