"""The report over this machine's units; `snakemake --report FILE` bundles what is marked here.

REQUIRED INPUTS: the check of the data, baselines, optima and Phase 2 summaries of the units
OUTPUTS: analysis/report.html, analysis/RESULTS.md, analysis/tables/*.csv, analysis/tables/*.tex
"""


rule write_report:
    """Write report.html, RESULTS.md and the tables from the records."""
    input:
        settings=needed_by("report", SETTINGS),
        results=needed_by(
            "report",
            DATA_CHECK,
            *task_files(TASK_BASELINES),
            *unit_files(PHASE0_SUMMARY),
            *unit_files(OPTIMUM),
            *unit_files(PHASE2_SUMMARY),
        ),
    output:
        report(
            REPORT,
            caption="../report/verdict.rst",
            category="Verdict",
            labels={"file": "report"},
        ),
        report(
            ANALYSIS + "/RESULTS.md",
            caption="../report/results.rst",
            category="Verdict",
            labels={"file": "Markdown"},
        ),
        [
            report(
                f"{ANALYSIS}/tables/{name}",
                caption=f"../report/{'latex' if name.endswith('.tex') else 'table'}.rst",
                category="Tables",
                labels={"table": name},
            )
            for name in REPORT_TABLES
        ],
    localrule: True
    params:
        log=f"logs/report/{VM}.log",
    shell:
        # The verdict that it prints is printed at the end of all, once.
        f"phasewise report --study {STUDY_WORD} --vm {VM_WORD} --log {{params.log:q}} > /dev/null"
