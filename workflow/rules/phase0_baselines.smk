"""Phase 0: what is there before any search.

REQUIRED INPUTS: the task's data.
OUTPUTS: experiments/{study}/checked_{vm}.json, experiments/{study}/{task}/baselines.json,
    experiments/{study}/{task}/{method}/phase0.json
"""


rule check_data:
    """Read and check all rows of all tasks, so that bad data stop the study before it trains."""
    output:
        DATA_CHECK,
    localrule: True
    params:
        settings=[HASHES["baselines", task] for task in TASKS],
    shell:
        "phasewise check --study {STUDY_FILE} --vm {VM} --output {output}"


rule compute_baselines:
    """Score majority class, TF-IDF + logistic regression and the frozen encoder of a task."""
    input:
        # ancient: checking again after a change of one task must not re-run the others
        checked=ancient(DATA_CHECK),
    output:
        TASK_BASELINES,
    log:
        f"logs/phase0_baselines/{VM}/{{task}}.log",
    threads: STUDY.settings.machine.threads
    resources:
        mem_mb=STUDY.settings.resources.mem_mb,
        runtime=STUDY.settings.resources.runtime,
    params:
        settings=lambda wildcards: HASHES["baselines", wildcards.task],
    shell:
        "phasewise baselines --study {STUDY_FILE} --task {wildcards.task} --log {log}"


rule run_defaults:
    """Train a method's published default over a few seeds: noise floor and S_baseline."""
    input:
        checked=ancient(DATA_CHECK),
    output:
        PHASE0_SUMMARY,
    log:
        f"logs/phase0_baselines/{VM}/{{task}}_{{method}}.log",
    threads: STUDY.settings.machine.cores
    resources:
        gpu=resource("gpu"),
        mem_mb=resource("mem_mb"),
        runtime=resource("runtime"),
    params:
        settings=settings_of("phase0"),
    shell:
        "phasewise defaults --study {STUDY_FILE} --task {wildcards.task}"
        " --method {wildcards.method} --log {log}"
