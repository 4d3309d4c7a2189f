# Beam search by fairseq: what translation networks make of a split, at the temperatures that an artifact asks for. Their
# corpora, trainings, caches and token features are made by the rules of data, training and logits, as for images.
rule translate:
    input:
        reads(probing),
    output:
        f"{LAYOUT.root}/probes/{{run}}/seed{{seed}}/{{probe}}.json",
    log:
        f"{LOGS}/translate/{{run}}.seed{{seed}}.{{probe}}.log",
    conda:
        "../envs/train.yaml"
    threads: threads_of(probing)
    resources:
        **resources_of(probing),
    shell:
        f"softlabels translate {OPTIONS} {{output}} > {{log}} 2>&1"
