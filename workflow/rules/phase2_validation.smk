"""Phase 2: the optimum of each unit over many fresh seeds, scored on the report set.

REQUIRED INPUTS: analysis/{task}_{method}_optimal.yaml
OUTPUTS: experiments/{study}/{task}/{method}/phase2.json
"""


rule validate:
    """Train a unit's optimum over many seeds and score each on the report set."""
    input:
        optimum=OPTIMUM,
    output:
        PHASE2_SUMMARY,
    log:
        f"logs/phase2_validation/{VM}/{{task}}_{{method}}.log",
    threads: STUDY.settings.machine.cores
    resources:
        gpu=resource("gpu"),
        mem_mb=resource("mem_mb"),
        runtime=resource("runtime"),
    params:
        settings=settings_of("phase2"),
    shell:
        "phasewise validate --study {STUDY_FILE} --task {wildcards.task}"
        " --method {wildcards.method} --log {log}"
