"""Phase 0: what is there before any search.

REQUIRED INPUTS: the task's data.
OUTPUTS: experiments/{study}/checked_{vm}.json, experiments/{study}/{task}/baselines.json,
    experiments/{study}/{task}/{method}/phase0.json
"""


rule check_data:
    """Check model, device and all data, so that what is wrong stops the study before it trains."""
    input:
        settings=needed_by("check", SETTINGS),
    output:
        DATA_CHECK,
    localrule: True
    params:
        device=lambda wildcards: "" if workflow.local_exec else "--other-device",
    shell:
        f"phasewise check --study {STUDY_WORD} --vm {VM_WORD} --output {{output:q}} {{params.device}}"


rule compute_baselines:
    """Score majority class, TF-IDF + logistic regression and the frozen encoder of a task."""
    input:
        settings=needed_by("baselines", SETTINGS),
        checked=needed_by("baselines", DATA_CHECK),
    output:
        TASK_BASELINES,
    threads: STUDY.settings.machine.threads
    resources:
        mem_mb=STUDY.settings.resources.mem_mb,
        runtime=STUDY.settings.resources.runtime,
    params:
        log=f"logs/phase0_baselines/{VM}/{{task}}.log",
    shell:
        "within_minutes {resources.runtime}"
        f" phasewise baselines --study {STUDY_WORD} --task {{wildcards.task:q}} --log {{params.log:q}}"


rule run_defaults:
    """Train a method's published default over a few seeds: noise floor and S_baseline."""
    input:
        settings=needed_by("defaults", SETTINGS),
        checked=needed_by("defaults", DATA_CHECK),
    output:
        PHASE0_SUMMARY,
    threads: STUDY.settings.machine.cores
    resources:
        gpu=resource("gpu"),
        mem_mb=resource("mem_mb"),
        runtime=resource("runtime"),
    params:
        log=f"logs/phase0_baselines/{VM}/{{task}}_{{method}}.log",
    shell:
        "within_minutes {resources.runtime}"
        f" phasewise defaults --study {STUDY_WORD} --task {{wildcards.task:q}}"
        f" --method {{wildcards.method:q}} --log {{params.log:q}}"
