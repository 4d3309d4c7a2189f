# One target per artifact: `snakemake muller2019_fig5`. Figures and tables read measured numbers only.


rule draw_figure:
    input:
        drawn_from,
    output:
        png=report(
            f"{LAYOUT.root}/figures/{{paper}}/{{name}}.png",
            caption="../workflow/report/figure.rst",
            category="Figures",
            labels={"artifact": "{paper} {name}", "format": "figure"},
        ),
        pdf=f"{LAYOUT.root}/figures/{{paper}}/{{name}}.pdf",
        csv=f"{LAYOUT.root}/figures/{{paper}}/{{name}}.csv",
        provenance=f"{LAYOUT.root}/figures/{{paper}}/{{name}}.provenance.json",
    log:
        f"{LOGS}/draw/{{paper}}_{{name}}.log",
    conda:
        "../envs/analysis.yaml"
    params:
        results=LAYOUT.root,
        title=lambda w: artifact_of(w).title,
        plot=lambda w: artifact_of(w).plot,
        id=lambda w: artifact_of(w).id,
        digest=lambda w: artifact_digest(artifact_of(w), ARTIFACTS),
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
            trained_for(artifact),
