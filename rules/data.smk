# Data sets, prepared once into memory-mapped arrays and a manifest.
rule prepare_data:
    output:
        f"{LAYOUT.root.parent}/data/{{dataset}}/manifest.json",
    log:
        f"{LOGS}/data/{{dataset}}.log",
    benchmark:
        f"{LAYOUT.root}/benchmarks/data/{{dataset}}.tsv"
    wildcard_constraints:
        dataset="|".join(map(re.escape, DATASETS)) or "none",
    conda:
        "../envs/train.yaml"
    # Not a parameter: where the originals lie decides nothing about prepared data.
    resources:
        options=data_options,
    params:
        spec=lambda w: json.dumps(to_dict(DATASETS[w.dataset]), sort_keys=True),
        folder=subpath(output[0], parent=True),
    shell:
        "softlabels data {params.spec:q} --out {params.folder} {resources.options} > {log} 2>&1"
