"""What drawings of translation networks need: translations of the test split."""

from __future__ import annotations

from softlabels.errors import SpecError
from softlabels.figures import roles
from softlabels.grid.plan import Artifact


def check_translated(artifact: Artifact, where: str) -> None:
    """Refuse an artifact with a family whose test split is not translated at the last checkpoint."""
    for family in dict.fromkeys(member.family for member in artifact.members):
        if "last" not in roles.on_test(artifact, family):
            raise SpecError(
                f"{where} family {family} needs a probe of what: translations, split: test, temperature: 1 and "
                "checkpoint: last"
            )
