# softlabels: teacher → logits cache → student grid → metrics → figures.
# Targets: an artifact (`snakemake muller2019_fig5`), or everything (`snakemake`). Audit: `snakemake -n`.
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


# Of the rules below, with `snakemake --sdm apptainer`; envs/softlabels.def makes it.
container: "softlabels.sif"


wildcard_constraints:
    run="[^/]+",
    cache="[^/]+",
    probe="[^/]+",
    seed="[0-9]+",
    paper="[A-Za-z0-9_]+",
    name="[A-Za-z0-9_]+",


include: "rules/plan.smk"
include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/training.smk"
include: "rules/logits.smk"
include: "rules/translation.smk"
include: "rules/metrics.smk"
include: "rules/figures.smk"
include: "rules/report.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        LAYOUT.report,
        [artifact_outputs(artifact) for artifact in ARTIFACTS.values()],
        [trained_for(artifact) for artifact in ARTIFACTS.values()],


if not workflow.remote_exec:
    with in_one_sentence():
        require_known(PLAN, LAYOUT, TARGETS, [rule.name for rule in workflow.rules])
