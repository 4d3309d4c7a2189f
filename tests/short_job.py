"""A job whose limit comes near after so many steps, on a machine of any speed."""

from __future__ import annotations

import time

from softlabels.training.worker import Worker


class ShortJob(Worker):
    """It asks between steps whether it has to stop; at the question `last` its time is over."""

    last, questions = 12, 0

    def asked_to_stop(self) -> bool:
        self.questions += 1
        if self.questions == self.last:
            self.deadline = time.monotonic()
        return super().asked_to_stop()
