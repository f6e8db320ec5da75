"""Phase 1: one hyperparameter search for each task and method.

REQUIRED INPUTS: experiments/{study}/checked_{vm}.json, experiments/{study}/{task}/baselines.json,
    experiments/{study}/{task}/{method}/phase0.json
OUTPUTS: analysis/{task}_{method}_optimal.yaml, once it is final. Study storage, records and the
    running optimum lie beside the records and are no outputs: Snakemake deletes those on failure.
"""


rule search:
    """Search a unit's hyperparameters and confirm the best on fresh seeds."""
    input:
        settings=needed_by("search", SETTINGS),
        checked=needed_by("search", DATA_CHECK),
        baseline=needed_by("search", PHASE0_SUMMARY),
        floor=needed_by("search", TASK_BASELINES),
    output:
        report(
            OPTIMUM,
            caption="../report/optimum.rst",
            category="Optima",
            labels={"task": "{task}", "method": "{method}"},
        ),
    threads: STUDY.settings.machine.cores
    resources:
        gpu=resource("gpu"),
        mem_mb=resource("mem_mb"),
        runtime=resource("runtime"),
    params:
        log=f"logs/phase1_optuna/{VM}/{{task}}_{{method}}.log",
    shell:
        "within_minutes {resources.runtime}"
        f" phasewise search --study {STUDY_WORD} --task {{wildcards.task:q}}"
        f" --method {{wildcards.method:q}} --log {{params.log:q}}"
