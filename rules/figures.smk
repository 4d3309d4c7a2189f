# One target per artifact: `snakemake muller2019_fig5`. Figures and tables read measured numbers only.


rule draw_figure:
    input:
        drawn_from,
    output:
        png=report(
            f"{LAYOUT.root}/figures/{{paper}}/{{name}}.png",
            caption="../workflow/report/figure.rst",
            category="Figures",
            labels={"artifact": "{paper} {name}", "format": "picture"},
        ),
        pdf=f"{LAYOUT.root}/figures/{{paper}}/{{name}}.pdf",
        csv=f"{LAYOUT.root}/figures/{{paper}}/{{name}}.csv",
        provenance=f"{LAYOUT.root}/figures/{{paper}}/{{name}}.provenance.json",
    log:
        f"{LOGS}/draw/{{paper}}/{{name}}.log",
    benchmark:
        f"{LAYOUT.root}/benchmarks/draw/{{paper}}/{{name}}.tsv"
    wildcard_constraints:
        paper=ID,
        name=ID,
    conda:
        "../envs/analysis.yaml"
    params:
        results=LAYOUT.root,
        title=lambda w: artifact_of(w).title,
        draw=lambda w: artifact_of(w).draw,
        id=lambda w: artifact_of(w).id,
        digest=artifact_digest,
    shell:
        "softlabels figure --results {params.results} {params.id} > {log} 2>&1"


use rule draw_figure as write_table with:
    output:
        csv=report(
            f"{LAYOUT.root}/tables/{{paper}}/{{name}}.csv",
            caption="../workflow/report/table.rst",
            category="Tables",
            labels={"artifact": "{paper} {name}", "format": "table"},
        ),
        md=f"{LAYOUT.root}/tables/{{paper}}/{{name}}.md",
        provenance=f"{LAYOUT.root}/tables/{{paper}}/{{name}}.provenance.json",


for artifact in ARTIFACTS.values():

    rule:
        name:
            artifact.target
        input:
            artifact_outputs(artifact),
            trained_files(artifact),
