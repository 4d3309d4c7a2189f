"""What README and docs show of files and of the code itself, so that no number there is typed by hand.

`python -m softlabels.pages` writes every block and page anew; a test compares them with what is there. A block stands
between `<!-- made: <name> -->` and `<!-- end -->`; the function that makes it has its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from softlabels.pages import benchmarks, readme, results, settings
from softlabels.papers import coverage
from softlabels.papers.claims import PAPERS

Maker = Callable[[Path], str]
BLOCKS: Mapping[str, Maker] = (
    {
        made.__name__: made
        for made in (
            *(readme.audit, readme.device_hours, readme.demo_time, readme.dry_run, readme.fig5, readme.in_print),
            *(results.text_mnist, results.step_size, results.step_size_collapse, results.slurm_faults),
            *(results.truncation, results.truncation_gpu, results.cifar10, results.cifar10_plain_loop),
            settings.settings_otherwise,
            *(results.mnist_methods, results.mnist_differences, results.verdict_power),
        )
    }
    | {f"settings_{paper}": partial(settings.of_paper, paper=paper) for paper in PAPERS}
    | {f"bench_{part}": partial(benchmarks.ratios, part=part) for part in benchmarks.PARTS}
)
PAGES: Mapping[str, Maker] = {"docs/coverage.md": coverage.page, "docs/commands.md": readme.commands}


def filled(page: Path, root: Path) -> str:
    """The text of a page with every block made anew."""

    def block(match: re.Match[str]) -> str:
        return f"<!-- made: {match[1]} -->\n{BLOCKS[match[1]](root)}\n<!-- end -->"

    return re.sub(r"<!-- made: (\w+) -->\n.*?<!-- end -->", block, page.read_text(encoding="utf-8"), flags=re.DOTALL)


def outdated(root: Path) -> dict[Path, str]:
    """Pages that say something else than they would now, and what they would say."""
    texts = {page: filled(page, root) for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]}
    texts |= {root / name: made(root) for name, made in PAGES.items()}
    there = {page: page.read_text(encoding="utf-8") for page in texts if page.is_file()}
    return {page: text for page, text in texts.items() if there.get(page) != text}
