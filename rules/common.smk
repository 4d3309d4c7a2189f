# What rules ask of the plan: inputs, outputs, parameters, resources.
import shlex

from softlabels.controller import after_living_jobs
from softlabels.figures.drawing import artifact_digest
from softlabels.grid.identity import STUDENT, TEACHER, dataset_id, probe_id, run_id
from softlabels.grid.plan import chain as with_teachers  # `chain` would hide one of Snakemake's own names
from softlabels.grid.spec import to_dict
from softlabels.versions import files_of_package

DATASETS = {dataset_id(spec.dataset): spec.dataset for spec in PLAN.runs.values()}
# Of every command that computes, and of those that look at images: threads beyond the first decode what is kept as files.
STAGE = ["--stage", PLAN.jobs.stage] if PLAN.jobs.stage else []
OPTIONS = shlex.join(["--device", PLAN.jobs.device, *STAGE]).replace("{", "{{").replace("}", "}}")
WORKERS = f"--workers $(({{threads}} - {CPUS}))"


# The job that makes a file: of `wildcards`, by the ids in its path.
def training(wildcards):
    return Job(SPECS.run(wildcards.run), int(wildcards.seed), None, LAYOUT)


def caching(wildcards):
    need = SPECS.cache(wildcards.cache)
    return Job(need.student, int(wildcards.seed), need, LAYOUT)


def probing(wildcards):
    return Job(SPECS.run(wildcards.run), int(wildcards.seed), SPECS.probe(wildcards.probe), LAYOUT)


def reads(job_of):
    """Inputs of a job. They are `ancient`, as is all that is trained: their names hash all that decides their content,
    so a file that exists is the right one, whenever it was written. (What reads one that is lost runs again with it.)
    """
    return lambda wildcards: [ancient(path) for path in job_of(wildcards).inputs]


def threads_of(job_of):
    return lambda wildcards: CPUS + ESTIMATOR.workers(job_of(wildcards))


def resources_of(job_of):
    """What a job asks for, estimated when it is planned and not while rules are read: what a cluster hands out, or a
    limit that --resources sets. A job of a cluster has been given what it asked for."""
    asked = {}
    # None where only the profile knows; and no model of a shared GPU, which would be asked for as a whole one.
    if PLAN.jobs.gpu_share and PLAN.jobs.device != "cpu":
        asked["gpu"] = lambda wildcards: (
            of_profile("gpu") if (gpu := ESTIMATOR.gpu(job_of(wildcards))) is None else gpu
        )
        asked["gres"] = lambda wildcards: f"shard:{PLAN.jobs.gpu_share}" if shared(job_of, wildcards) else None
        asked["gpu_model"] = lambda wildcards: "" if shared(job_of, wildcards) else of_profile("gpu_model")
    elif (gpu := ESTIMATOR.gpus) is not None:
        asked["gpu"] = gpu
    if workflow.remote_exec:
        return asked

    def estimated(field):
        return lambda wildcards, attempt: getattr(ESTIMATOR.of(job_of(wildcards), attempt), field)

    is_cluster = workflow.nodes is not None
    for resource, field in {"mem_mb": "mem_mb", "disk_mb": "disk_mb", "runtime": "minutes"}.items():
        if is_cluster or resource in workflow.global_resources:
            asked[resource] = estimated(field)
    if is_cluster:
        asked["slurm_extra"] = lambda wildcards: sbatch_options(job_of(wildcards))
    return asked


def of_profile(resource):
    """A default resource of the profile, which one of a rule, even none, would take away."""
    return PROFILE[resource].value if resource in PROFILE else None


def shared(job_of, wildcards):
    """Whether a job takes a part of a GPU that others share."""
    return ESTIMATOR.shards(job_of(wildcards)) > 0


def sbatch_options(job):
    """Those of the configuration, and to wait for a job of a killed snakemake that is still at work on the same. Not in
    groups, whose jobs must all say the same: there the leases of their folders make them wait."""
    waits = None if workflow.group_settings.overwrite_groups else after_living_jobs([job.folder])
    return " ".join(filter(None, [PLAN.jobs.sbatch, waits])) or None


def data_options(wildcards):
    """Where the original files are, from the `data:` block of the configuration."""
    data = config.get("data") or {}
    options = ["--root", str(data.get("root") or "data")]
    options += ["--mirror", str(data["mirror"])] if data.get("mirror") else []
    return shlex.join(options + (["--download"] if data.get("download") else []))


def artifact_of(wildcards):
    """The artifact of `<paper>/<name>`."""
    return ARTIFACTS[f"{wildcards.paper}.{wildcards.name}"]


def measured_files(wildcards):
    """What an artifact is measured on: the trainings of its members, and its probes."""
    artifact = artifact_of(wildcards)
    jobs = [Job(m.run, seed, None, LAYOUT) for m in artifact.members for seed in m.seeds]
    jobs += [
        Job(m.run, seed, probe, LAYOUT)
        for family, probe in artifact.probes
        for m in artifact.family(family)
        for seed in m.seeds
    ]
    return [ancient(path) for path in dict.fromkeys(job.output for job in jobs)]


def drawn_from(wildcards):
    """What measuring an artifact wrote: tidy rows, plotted numbers, the list of inputs."""
    return [path(wildcards.paper, wildcards.name) for path in (LAYOUT.metrics, LAYOUT.plotted, LAYOUT.inputs)]


def artifact_outputs(artifact):
    """What a figure or table becomes."""
    suffixes = [".png", ".pdf", ".csv"] if artifact.kind == "figure" else [".csv", ".md"]
    suffixes.append(".provenance.json")
    return [LAYOUT.output(artifact.kind, artifact.paper, artifact.name, suffix) for suffix in suffixes]


def trained_files(artifact):
    """The records of an artifact's runs and their teachers. Targets ask for them, so that one that is deleted is made
    again (from the store, if it is there) although the figure drawn from it exists."""
    return [
        Job(spec, seed, None, LAYOUT).output
        for m in artifact.members
        for spec, seeds in with_teachers(m.run, m.seeds)
        for seed in seeds
    ]


def trained_for(artifact):
    """The same, collected when Snakemake asks: together they are a grid's files many times."""
    return lambda wildcards: trained_files(artifact)
