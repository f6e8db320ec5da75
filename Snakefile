"""Phasewise: Phase 0 baselines -> Phase 1 search -> Phase 2 validation -> report.

snakemake --profile demo             # the demo, some minutes on 2 CPU cores
snakemake --profile vm1              # the units of one VM (after `make setup`)
snakemake --profile vm1 -n phase1    # what Phase 1 would run, without running it
snakemake --profile demo --report report.zip   # everything the report shows, with its captions
"""

from snakemake.utils import min_version

min_version("9.27")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


rule all:
    """Everything of this machine's units, and the report."""
    default_target: True
    input:
        REPORT,


include: "workflow/rules/phase0_baselines.smk"
include: "workflow/rules/phase1_search.smk"
include: "workflow/rules/phase2_validation.smk"
include: "workflow/rules/report.smk"


if config.get("store"):

    include: "workflow/rules/storage.smk"


rule phase0:
    """Baselines of every task and published default of every unit."""
    input:
        task_files(TASK_BASELINES),
        unit_files(PHASE0_SUMMARY),


rule phase1:
    """The optimum of every unit."""
    input:
        unit_files(OPTIMUM),


rule phase2:
    """The optimum of every unit over many seeds."""
    input:
        unit_files(PHASE2_SUMMARY),
