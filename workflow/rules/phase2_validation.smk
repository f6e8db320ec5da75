"""Phase 2: the optimum of each unit over many fresh seeds, scored on the report set.

REQUIRED INPUTS: analysis/{task}_{method}_optimal.yaml, and what Phase 1 requires
OUTPUTS: experiments/{study}/{task}/{method}/phase2.json
"""


rule validate:
    """Train a unit's optimum over many seeds and score each on the report set."""
    input:
        settings=needed_by("validate", SETTINGS),
        before=needed_by("validate", DATA_CHECK, PHASE0_SUMMARY, TASK_BASELINES),
        optimum=needed_by("validate", OPTIMUM),
    output:
        PHASE2_SUMMARY,
    threads: STUDY.settings.machine.cores
    resources:
        gpu=resource("gpu"),
        mem_mb=resource("mem_mb"),
        runtime=resource("runtime"),
    params:
        log=f"logs/phase2_validation/{VM}/{{task}}_{{method}}.log",
    shell:
        "within_minutes {resources.runtime}"
        f" phasewise validate --study {STUDY_WORD} --task {{wildcards.task:q}}"
        f" --method {{wildcards.method:q}} --log {{params.log:q}}"
