# Metrics of each artifact from stored logits and probes, and all of them in one tidy table.
METRICS = LAYOUT.joined_metrics


# Beside the snakemake that schedules, never as cluster jobs: measuring and drawing take less time than a queue, and
# fetching data needs the network, which a login node has and a compute node often has not.
localrules:
    prepare_data,
    fetch_weights,
    measure,
    join_metrics,
    judge_claims,
    draw_figure,
    write_table,


rule measure:
    input:
        measured_files,
    output:
        rows=LAYOUT.metrics("{paper}", "{name}"),
        plotted=LAYOUT.plotted("{paper}", "{name}"),
        inputs=LAYOUT.inputs("{paper}", "{name}"),
    log:
        f"{LOGS}/measure/{{paper}}_{{name}}.log",
    conda:
        "../envs/analysis.yaml"
    params:
        results=LAYOUT.root,
        digest=lambda w: artifact_digest(artifact_of(w), ARTIFACTS),
    shell:
        "softlabels measure --results {params.results} {wildcards.paper}.{wildcards.name} > {log} 2>&1"


rule join_metrics:
    input:
        [LAYOUT.metrics(a.paper, a.name) for a in ARTIFACTS.values()],
    output:
        METRICS,
    log:
        f"{LOGS}/metrics.log",
    conda:
        "../envs/analysis.yaml"
    params:
        artifacts=sorted(ARTIFACTS),
    shell:
        "softlabels metrics --out {output} {input} > {log} 2>&1"


rule judge_claims:
    input:
        METRICS,
    output:
        LAYOUT.claims,
    log:
        f"{LOGS}/claims.log",
    conda:
        "../envs/analysis.yaml"
    params:
        scale=PLAN.scale,
        digest=files_of_package("papers"),
    shell:
        "softlabels claims --scale {params.scale} > {log} 2>&1"
