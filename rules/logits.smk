# What trained networks say: caches of teachers' logits for students, and probes (chosen pictures) for figures.
for pack in cache_packs(PLAN, LAYOUT):

    rule:
        name:
            pack.rule
        input:
            [ancient(path) for path in pack.inputs],
        output:
            pack.outputs,
        log:
            f"{LOGS}/caches/{pack.name}.log",
        benchmark:
            f"{LAYOUT.root}/benchmarks/caches/{pack.name}.tsv"
        conda:
            "../envs/train.yaml"
        threads: CPUS + ESTIMATOR.workers(pack)
        resources:
            **resources_of(pack),
        shell:
            f"softlabels cache{options_of(pack)} {{output}} > {{log}} 2>&1"


for pack in probe_packs(PLAN, LAYOUT):

    rule:
        name:
            pack.rule
        input:
            [ancient(path) for path in pack.inputs],
        output:
            pack.outputs,
        log:
            f"{LOGS}/evaluate/{pack.name}.log",
        benchmark:
            f"{LAYOUT.root}/benchmarks/evaluate/{pack.name}.tsv"
        conda:
            "../envs/train.yaml"
        threads: CPUS + ESTIMATOR.workers(pack)
        resources:
            **resources_of(pack),
        shell:
            f"softlabels evaluate{options_of(pack)} {{output}} > {{log}} 2>&1"
