# What trained networks say: caches of teachers' logits for students, and probes (chosen images) for figures.
rule cache_logits:
    input:
        reads(caching),
    output:
        f"{LAYOUT.root}/cache/{{cache}}/seed{{seed}}/manifest.json",
    log:
        f"{LOGS}/cache/{{cache}}.seed{{seed}}.log",
    conda:
        "../envs/train.yaml"
    threads: threads_of(caching)
    resources:
        **resources_of(caching),
    shell:
        f"softlabels cache {OPTIONS} {WORKERS} {{output}} > {{log}} 2>&1"


rule evaluate:
    input:
        reads(probing),
    output:
        f"{LAYOUT.root}/probes/{{run}}/seed{{seed}}/{{probe}}.safetensors",
    log:
        f"{LOGS}/evaluate/{{run}}.seed{{seed}}.{{probe}}.log",
    conda:
        "../envs/train.yaml"
    threads: threads_of(probing)
    resources:
        **resources_of(probing),
    shell:
        f"softlabels evaluate {OPTIONS} {WORKERS} {{output}} > {{log}} 2>&1"
