"""`snakemake --profile slurm`: a figure, byte for byte as without it, and what jobs ask SLURM for."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from chain import TEACHER, Chain, differences
from cluster import Cluster
from workflow_tree import ENVIRONMENT, Tree

from softlabels.files import sha256


def measured(tree: Tree) -> dict[str, str]:
    """Checksums of all numbers of the figure, and of what they come from."""
    files = [path for pattern in ("metrics/**/*.csv", "figures/**/fig5.csv") for path in tree.results.glob(pattern)]
    files += [path for path in tree.results.glob("runs/**/*") if path.is_file() and path.name != "run.json"]
    files += tree.results.glob("cache/**/*.npy")
    return {str(path.relative_to(tree.results)): sha256(path) for path in files}


def comment_of(job: dict[str, str]) -> str:
    """What the plugin says about a job of the audit: rule, id, seed, and which probe."""
    path = Path(job["output"])
    wildcards = [path.parts[-3], path.parts[-2].removeprefix("seed")] + [path.stem] * (job["rule"] == "evaluate")
    return f"rule_{job['rule']}_wildcards_{'_'.join(wildcards)}"


def test_a_figure_through_slurm_is_the_same_byte_for_byte(for_snakemake: Cluster, tmp_path: Path) -> None:
    cluster = for_snakemake
    (tmp_path / "here").mkdir()
    here = Tree.create(tmp_path / "here")
    here.snakemake("muller2019_fig5")
    (tmp_path / "on a cluster").mkdir()
    there = Tree.create(tmp_path / "on a cluster")
    there.replace("workflow/profiles/slurm/config.yaml", "status-checks: 20", "status-checks: 2")
    done = subprocess.run(
        ["snakemake", "--profile", "slurm", "muller2019_fig5"], cwd=there.root, text=True, check=False,
        env={**ENVIRONMENT, **cluster.env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert len(measured(here)) > 50
    assert differences(measured(there), measured(here)) == []
    ours = [job for job in cluster.jobs() if job["WorkDir"] == str(there.root)]
    jobs = {job["Comment"]: job for job in ours}
    on_cluster = {"train_teacher", "cache_logits", "train_student", "evaluate"}  # the rest: here
    assert {re.sub("rule_(.*)_wildcards.*", r"\1", comment) for comment in jobs} == on_cluster
    assert all(job["TresPerJob"] == "gres:gpu:1" for job in jobs.values())
    # The audit prints what jobs ask for (all is done there, so it is asked where nothing is).
    (tmp_path / "before").mkdir()
    asked = {
        comment_of(job): job
        for job in json.loads(Tree.create(tmp_path / "before").softlabels("audit", "--json"))["jobs"]
    }
    for comment, job in jobs.items():
        assert job["MinMemoryNode"] == f"{asked[comment]['mem_mb']}M"
        assert job["TimeLimit"] == f"00:{asked[comment]['minutes']:02d}:00"


def test_small_runs_take_shards_where_the_site_has_them(chain: Chain) -> None:
    """And no whole GPU, not even of the model that the profile names."""
    chain.tree.replace("config.yaml", "jobs: {", "jobs: {gpu_share: 2, sbatch: --nice=7, ")
    chain.tree.replace("workflow/profiles/slurm/config.yaml", '# gpu_model: "a100"', 'gpu_model: "a100"')
    assert chain.finish(chain.start("--until", TEACHER)) == 0, chain.log
    (job,) = chain.jobs_of(TEACHER)
    assert job["TresPerNode"] == "gres:shard:2"
    assert "gpu" not in job.get("TresPerJob", "")
    assert job["Nice"] == "7"


def test_data_and_caches_are_staged_on_the_node(chain: Chain, cluster: Cluster, undisturbed: Chain) -> None:
    """Each node has a disk of its own; variables are those of the job."""
    local = cluster.root / "local"
    chain.tree.replace("config.yaml", "jobs: {", f"jobs: {{stage: {local}/$USER_OF_NODE, ")
    cluster.env["USER_OF_NODE"] = "me"
    try:
        assert chain.finish(chain.start()) == 0, chain.log
    finally:
        del cluster.env["USER_OF_NODE"]
    said = "".join(path.read_text() for path in (chain.tree.root / "logs/chain/train").rglob("*.log"))
    assert f"to {local}/me/softlabels-" in said
    assert differences(chain.checksums(), undisturbed.checksums()) == []
