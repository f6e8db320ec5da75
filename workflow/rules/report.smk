"""The report over this machine's units.

REQUIRED INPUTS: baselines, optima and Phase 2 summaries of the units
OUTPUTS: analysis/report.html, analysis/RESULTS.md
"""


rule write_report:
    """Write report.html and RESULTS.md from the records."""
    input:
        task_files(TASK_BASELINES),
        unit_files(PHASE0_SUMMARY),
        unit_files(OPTIMUM),
        unit_files(PHASE2_SUMMARY),
    output:
        REPORT,
        ANALYSIS + "/RESULTS.md",
    log:
        f"logs/report/{VM}.log",
    localrule: True
    shell:
        "phasewise report --study {STUDY_FILE} --vm {VM} --log {log}"
