# Networks, teachers and students alike: one rule per pack, whose job trains its members one after another in one
# process. A member that the store already holds is only published again.
#
# Inputs are `ancient` here and downstream: their names hash all that decides their content, so a file that exists is
# the right one, and a pack that runs for one missing member does not make its neighbours' consumers run again.
for pack in training_packs(PLAN, LAYOUT):

    rule:
        name:
            pack.rule
        input:
            [ancient(path) for path in pack.inputs],
        output:
            records=pack.outputs,
            others=[
                m.output.with_name(name)
                for m in pack.members
                for name in LAYOUT.run_files(m.run.task)
                if name != m.output.name
            ],
        log:
            f"{LOGS}/train/{pack.name}.log",
        benchmark:
            f"{LAYOUT.root}/benchmarks/train/{pack.name}.tsv"
        conda:
            "../envs/train.yaml"
        threads: CPUS + ESTIMATOR.workers(pack)
        resources:
            **resources_of(pack),
        shell:
            f"softlabels train{options_of(pack)} --checkpoint-seconds {{resources.checkpoint_seconds}}"
            " {output.records} > {log} 2>&1"
