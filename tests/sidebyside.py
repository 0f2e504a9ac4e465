"""Which files of tests run beside which, where several run at once (`make test`).

Calls take their time and little CPU, other tests CPU alone: one worker begins with the latter, so that both
have what they need all the time. The others begin with the longest, so that none is left alone with it.
"""

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

LONG_S = {
    "tests/asterisk/test_endurance.py": 260,
    "tests/asterisk/test_calls.py": 210,
    "tests/asterisk/test_taps.py": 185,
    "tests/asterisk/test_stasis.py": 155,
    "tests/asterisk/test_ari.py": 100,
    "tests/asterisk/test_ami.py": 100,
    "tests/asterisk/test_audiosocket.py": 100,
    "tests/asterisk/test_mediasocket.py": 100,
    "tests/asterisk/test_rtp_budget.py": 100,
    "tests/asterisk/test_visits.py": 100,
    "tests/asterisk/test_people.py": 100,
    "tests/asterisk/test_python314.py": 100,
    "tests/asterisk/test_workers.py": 90,
    "tests/asterisk/test_outages.py": 90,
    "tests/asterisk/test_check.py": 90,
    "tests/asterisk/test_rules.py": 60,
    "tests/asterisk/test_freepbx.py": 60,
    "tests/asterisk/test_explain_live.py": 20,
    "tests/asterisk/test_explain_log.py": 20,
    "tests/asterisk/test_sip.py": 10,
    "tests/asterisk/test_pbx.py": 10,
    "tests/freeswitch/test_calls.py": 150,
    "tests/freeswitch/test_replay.py": 80,
    "tests/freeswitch/test_kills.py": 60,
    "tests/bench/test_benches.py": 60,
    "tests/bench/test_legs.py": 60,
    "tests/test_cli.py": 60,
    "tests/test_workers.py": 60,
}
"""The files whose tests mostly wait, with about their seconds."""


class LongestFirst(LoadFileScheduling):  # type: ignore[misc]
    """Hands out whole files."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        pick = min if node.gateway.id == "gw0" else max
        self.workqueue.move_to_end(pick(self.workqueue, key=lambda file: LONG_S.get(file, 0)), last=False)
        super()._assign_work_unit(node)
