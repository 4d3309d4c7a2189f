# What rules ask of the plan: inputs, outputs, parameters.
import shlex

from softlabels.controller import after_living_jobs
from softlabels.figures.declared.own import own_files
from softlabels.figures.declared.sets import files_of
from softlabels.grid.identity import dataset_id, probe_id, run_id
from softlabels.grid.plan import chain as with_teachers  # `chain` would hide one of Snakemake's own names
from softlabels.grid.spec import to_dict
from softlabels.files import sha256
from softlabels.versions import PACKAGE, code_version, files_of_package

DATASETS = {dataset_id(spec.dataset): spec.dataset for spec in PLAN.runs.values()}
PUBLISHED = [sha256(path) for path in sorted((PACKAGE / "papers").glob("*.csv"))]
ID = "[A-Za-z0-9_]+"  # papers and artifact names
STAGE = " --stage {resources.stage:q}" if PLAN.jobs.stage else ""


def resources_of(pack):
    """What the job of a pack asks for, estimated when it is planned and not while rules are read. Options of commands are
    among it because a changed parameter would run jobs again."""

    def estimated(field):
        return lambda wildcards, attempt: getattr(ESTIMATOR.of(pack, attempt), field)

    found = {name: estimated(name) for name in ("mem_mb", "disk_mb")}
    found |= {"runtime": estimated("minutes"), "device": PLAN.jobs.device}
    if pack.kind == "train":
        found["checkpoint_seconds"] = PLAN.jobs.checkpoint_seconds
    if workers := ESTIMATOR.workers(pack):
        found["workers"] = workers
    if PLAN.jobs.stage:
        found["stage"] = PLAN.jobs.stage
    if (gpu := ESTIMATOR.gpu(pack)) is not None:  # else the profile says
        found["gpu"] = gpu
    if shards := ESTIMATOR.shards(pack):  # and no model, which would be asked for as a whole GPU
        found |= {"gres": f"shard:{shards}", "gpu_model": ""}
    if workflow.nodes is not None:  # a cluster
        found["slurm_extra"] = lambda wildcards: sbatch_options(pack)
    return found


def options_of(pack):
    """Of the command that makes a pack, filled in from its resources."""
    return (
        " --device {resources.device}" + STAGE + (" --workers {resources.workers}" if ESTIMATOR.workers(pack) else "")
    )


def sbatch_options(pack):
    """Those of the configuration, and to wait for jobs of a killed snakemake that are still at work on the same."""
    if pack.kind == "train":
        folders = [LAYOUT.store(run_id(member.run), member.seed) for member in pack.members]
    else:
        folders = [output.parent for output in pack.outputs]
    return " ".join(filter(None, [PLAN.jobs.sbatch, after_living_jobs(folders)])) or None


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
    """Logits (of translation: features) of every member of the artifact, and its probes."""
    artifact = artifact_of(wildcards)
    logits = [
        LAYOUT.run(run_id(m.run), seed) / LAYOUT.run_files(m.run.task)[-1] for m in artifact.members for seed in m.seeds
    ]
    probes = [
        LAYOUT.probe(run_id(m.run), seed, probe_id(probe))
        for family, probe in artifact.probes
        for m in artifact.family(family)
        for seed in m.seeds
    ]
    return [ancient(path) for path in dict.fromkeys(logits + probes)]


def artifact_digest(wildcards):
    """Changes with anything the artifact is measured on or drawn from: what papers print, its code's versions, the
    artifacts that it indexes and the user's tables included."""
    artifact = artifact_of(wildcards)
    versions = [code_version("metrics"), code_version("figures")]
    indexed = [f"{artifact.paper}.{name}" for name in artifact.options.get("artifacts", ())]
    specs = [artifact_dict(ARTIFACTS[name]) for name in (artifact.id, *indexed) if name in ARTIFACTS]
    return digest([*specs, *versions, *PUBLISHED, *map(sha256, files_of(artifact)), *map(sha256, own_files(artifact))])


def drawn_from(wildcards):
    """What measuring an artifact wrote: tidy rows, plotted numbers, the list of inputs."""
    return [path(wildcards.paper, wildcards.name) for path in (LAYOUT.metrics, LAYOUT.plotted, LAYOUT.inputs)]


def artifact_outputs(artifact):
    """What a figure or table becomes."""
    suffixes = [".png", ".pdf", ".csv"] if artifact.kind == "figure" else [".csv", ".md"]
    suffixes.append(".provenance.json")
    return [LAYOUT.output(artifact.kind, artifact.paper, artifact.name, suffix) for suffix in suffixes]


def trained_files(artifact):
    """Everything published of an artifact's runs and their teachers. Targets ask for it, so that a deleted file is made
    again (from the store, if it is there) although the figure drawn from it exists."""
    return [
        LAYOUT.run(run_id(spec), seed) / name
        for m in artifact.members
        for spec, seeds in with_teachers(m.run, m.seeds)
        for seed in seeds
        for name in LAYOUT.run_files(spec.task)
    ]
