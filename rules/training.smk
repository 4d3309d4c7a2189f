# Networks. A training that the store already holds is only published again; what a command writes beside `run.json`
# (weights, history, logits) is there when that is.


# Those that learn from labels alone: teachers, and students' baselines.
rule train_teacher:
    input:
        reads(training),
    output:
        f"{LAYOUT.root}/runs/{{run}}/seed{{seed}}/run.json",
    log:
        f"{LOGS}/train/{{run}}.seed{{seed}}.log",
    wildcard_constraints:
        run=TEACHER,
    conda:
        "../envs/train.yaml"
    threads: threads_of(training)
    resources:
        **resources_of(training),
    shell:
        f"softlabels train {OPTIONS} {WORKERS} --checkpoint-seconds {PLAN.jobs.checkpoint_seconds} "
        "{output} > {log} 2>&1"


# Those that learn from another network. One may teach a next one: its cache is made as that of any teacher.
use rule train_teacher as train_student with:
    wildcard_constraints:
        run=STUDENT,
