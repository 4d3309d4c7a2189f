# Beam search by fairseq: what translation networks make of a split, at the temperatures that an artifact asks for. Their
# corpora, trainings, caches and token features are made by the rules of data, training and logits, as for images.
for pack in translation_packs(PLAN, LAYOUT):

    rule:
        name:
            pack.rule
        input:
            [ancient(path) for path in pack.inputs],
        output:
            pack.outputs,
        log:
            f"{LOGS}/translate/{pack.name}.log",
        benchmark:
            f"{LAYOUT.root}/benchmarks/translate/{pack.name}.tsv"
        conda:
            "../envs/train.yaml"
        threads: CPUS
        resources:
            **resources_of(pack),
        shell:
            f"softlabels translate --device {{resources.device}}{STAGE} {{output}} > {{log}} 2>&1"
