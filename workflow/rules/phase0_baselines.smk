"""Phase 0: what is there before any search.

REQUIRED INPUTS: the task's data.
OUTPUTS: experiments/{study}/{task}/baselines.json, experiments/{study}/{task}/{method}/phase0.json
"""


rule compute_baselines:
    """Score majority class, TF-IDF + logistic regression and the frozen encoder of a task."""
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
    output:
        PHASE0_SUMMARY,
    log:
        f"logs/phase0_baselines/{VM}/{{task}}_{{method}}.log",
    threads: STUDY.settings.machine.threads
    resources:
        gpu=resource("gpu"),
        mem_mb=resource("mem_mb"),
        runtime=resource("runtime"),
    params:
        settings=settings_of("phase0"),
    shell:
        "phasewise defaults --study {STUDY_FILE} --task {wildcards.task}"
        " --method {wildcards.method} --log {log}"
