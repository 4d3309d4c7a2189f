# Data sets, prepared once into memory-mapped arrays and a manifest.
rule prepare_data:
    output:
        f"{LAYOUT.root.parent}/data/{{dataset}}/manifest.json",
    log:
        f"{LOGS}/data/{{dataset}}.log",
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


# Weights of torchvision that runs begin with, converted once.
rule fetch_weights:
    output:
        LAYOUT.weights("{weights}"),
    log:
        f"{LOGS}/data/{{weights}}.log",
    wildcard_constraints:
        weights="[a-z0-9_]+-[0-9a-f]{8}",  # torchvision's name of the file
    conda:
        "../envs/train.yaml"
    resources:
        options=data_options,
    shell:
        "softlabels weights {output} {resources.options} > {log} 2>&1"
