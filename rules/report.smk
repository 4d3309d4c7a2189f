# The answer on one page: verdicts, figures, tables, discrepancies and runs.
localrules:
    write_report,


rule write_report:
    input:
        LAYOUT.claims,
        [artifact_outputs(artifact) for artifact in ARTIFACTS.values()],
    output:
        LAYOUT.report,
    log:
        f"{LOGS}/report.log",
    conda:
        "../envs/analysis.yaml"
    params:
        scale=PLAN.scale,
        artifacts=list(ARTIFACTS),
        digest=files_of_package("report"),
    shell:
        "softlabels report --scale {params.scale} {params.artifacts} > {log} 2>&1"
