"""Which files of tests run beside which, where several run at once (`make test`).

Calls take their time and little CPU, other tests CPU alone: one worker begins with the latter, so that both
have what they need all the time. The longest come first, so that no worker is left alone with one.
"""

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

LONG_S = {
    "tests/asterisk/test_calls.py": 220,
    "tests/docker/test_engine.py": 150,
    "tests/asterisk/test_taps.py": 165,
    "tests/freeswitch/test_calls.py": 135,
    "tests/asterisk/test_stasis.py": 110,
    "tests/asterisk/test_endurance.py": 105,
    "tests/asterisk/test_rtp_budget.py": 90,
    "tests/bench/test_legs.py": 90,
    "tests/asterisk/test_check.py": 80,
    "tests/asterisk/test_rules.py": 80,
    "tests/freeswitch/test_replay.py": 80,
    "tests/asterisk/test_ami.py": 75,
    "tests/asterisk/test_visits.py": 70,
    "tests/leg/test_faults.py": 60,
    "tests/asterisk/test_python314.py": 60,
    "tests/asterisk/test_workers.py": 60,
    "tests/asterisk/test_freepbx.py": 55,
    "tests/freeswitch/test_pauses.py": 50,
    "tests/reload/test_daemon.py": 50,
    "tests/freeswitch/test_kills.py": 50,
    "tests/asterisk/test_outages.py": 50,
    "tests/asterisk/test_people.py": 50,
    "tests/asterisk/test_mediasocket.py": 45,
    "tests/bench/test_benches.py": 40,
    "tests/asterisk/test_pauses.py": 40,
    "tests/simulate/test_simulation.py": 35,
    "tests/demo/test_demo.py": 30,
    "tests/browser/test_page.py": 30,
    "tests/asterisk/test_watch.py": 25,
    "tests/asterisk/test_page_calls.py": 20,
    "tests/workers/test_workers.py": 20,
    "tests/schema/test_shapes.py": 20,
    "tests/freeswitch/test_discreet.py": 20,
    "tests/freeswitch/test_replayer.py": 15,
    "tests/test_cli.py": 15,
    "tests/asterisk/test_ari.py": 15,
    "tests/prometheus/test_scraping.py": 15,
    "tests/asterisk/test_explain_log.py": 15,
    "tests/asterisk/test_audiosocket.py": 15,
    "tests/checks/test_freeswitch.py": 15,
    "tests/bench/test_bill.py": 10,
    "tests/asterisk/test_explain_live.py": 5,
    "tests/asterisk/test_pbx.py": 5,
    "tests/asterisk/test_sip.py": 5,
}
"""The files whose tests mostly wait, with about their seconds."""


class LongestFirst(LoadFileScheduling):  # type: ignore[misc]
    """Hands out whole files."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        quick = (file for file in self.workqueue if file not in LONG_S)
        longest = max(self.workqueue, key=lambda file: LONG_S.get(file, 0))
        chosen = next(quick, longest) if node.gateway.id == "gw0" else longest
        self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)
