"""The study, its units and the paths that more than one rule file names.

REQUIRED CONFIG: study (a YAML file; default shared/config.yaml), vm (a shard of it, or `all`).
"""

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from phasewise.errors import PhasewiseError
from phasewise.runs import phase_hash, task_hash
from phasewise.settings import load_study
from phasewise.training.server_process import share_server

STUDY_FILE = config.get("study", "shared/config.yaml")
VM = config.get("vm")

try:
    STUDY = load_study(STUDY_FILE)
    TASKS = STUDY.tasks_of(VM)
    UNITS = STUDY.units_of(VM)
    # Fingerprints the data too, so that a missing file is refused before anything runs.
    HASHES = {
        (phase, task, method): phase_hash(STUDY, phase, task, method)
        for phase in ("phase0", "phase1", "phase2")
        for task, method in UNITS
    }
    HASHES |= {("baselines", task): task_hash(STUDY, task) for task in TASKS}
except PhasewiseError as error:
    raise WorkflowError(str(error))

EXPERIMENTS = str(STUDY.settings.experiments_path)
ANALYSIS = str(STUDY.settings.analysis_path)

DATA_CHECK = EXPERIMENTS + f"/checked_{VM}.json"
TASK_BASELINES = EXPERIMENTS + "/{task}/baselines.json"
PHASE0_SUMMARY = EXPERIMENTS + "/{task}/{method}/phase0.json"
OPTIMUM = ANALYSIS + "/{task}_{method}_optimal.yaml"
PHASE2_SUMMARY = EXPERIMENTS + "/{task}/{method}/phase2.json"
REPORT = ANALYSIS + "/report.html"

# Jobs find the `phasewise` of the environment that snakemake itself runs in.
shell.prefix(f"export PATH='{Path(sys.executable).parent}':$PATH; ")


onstart:
    # Workers of all local jobs are forked from one process that has imported torch once.
    if workflow.local_exec and workflow.is_main_process:
        share_server()


wildcard_constraints:
    task="|".join(STUDY.tasks),
    method="|".join(STUDY.methods),


def task_files(pattern):
    """Returns the files of this machine's tasks."""
    return expand(pattern, task=TASKS)


def unit_files(pattern):
    """Returns the files of this machine's units."""
    return [pattern.format(task=task, method=method) for task, method in UNITS]


def settings_of(phase):
    """Returns a params function: the hash of all settings that the phase depends on."""
    return lambda wildcards: HASHES[phase, wildcards.task, wildcards.method]


def resource(name):
    """Returns a resources function: what the study asks of a cluster for the unit's jobs."""
    return lambda wildcards: getattr(
        STUDY.resources_of(wildcards.task, wildcards.method), name
    )
