"""The steps about upstreams that fail, without a process: python3 -m unittest discover -s bench/tests -t bench"""

import unittest
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

from lib import adaptive, balancers, quiet, report, stale, timeline, upstream_charts, upstreams, workers
from lib.arena import BENCH
from lib.contestants import fill
from lib.processes import BenchError
from lib.seconds_chart import Row
from tests.test_bench import results

PROGRAMS = {"gateway": Path("gateway")}


def told(*names: str) -> dict:
    """Returns results that know these contestants, without samples."""
    found = results()
    found["run"]["contestants"] = {name: {"title": name, "version": "1.2", "filter_kind": ""} for name in names}
    return found


def failing(contestant: str, number: int, failed: int, p99: float | None = 2000.0) -> dict:
    """Returns a round of four seconds, in the second of which requests failed."""
    seconds = [{"failed": 0, "p50": 900.0, "p99": 1000.0, "max": 1.0} for _ in range(4)]
    seconds[1] = {"failed": failed, "p50": p99, "p99": p99, "max": p99}
    return {
        "contestant": contestant,
        "round": number,
        "rate": 100,
        "events": [["dead", 1, 2], ["stalled", 2, 3]],
        "failed": failed,
        "failures": {},
        "p50": 900.0,
        "p99": 1500.0,
        "seconds": seconds,
        "bad_requests": [33, 0, 12, 30],
        "burst_failed": 3,
        "under_way": [1, 2, 3, 4],
    }


class Timelines(unittest.TestCase):
    def test_increases_are_those_from_one_second_to_the_next(self):
        self.assertEqual(timeline.increases([5, 5, 9, 10]), [0, 4, 1])
        self.assertEqual(timeline.increases([5]), [])

    def test_actions_happen_in_order_and_between_observations(self):
        happened: list[str] = []
        actions = [(0.02, lambda: happened.append("late")), (0.01, lambda: happened.append("early"))]
        observed = timeline._play(0.0, 1, sorted(actions, key=timeline._at), lambda: happened.append("look"))
        self.assertEqual(happened, ["look", "early", "late", "look"])
        self.assertEqual(len(observed), 2)


class Quiet(unittest.TestCase):
    def test_a_disturbed_run_is_repeated_and_the_least_disturbed_one_counts(self):
        def measured(others: list[float], most: float | None) -> tuple[float, int]:
            waiting = iter(others)
            run = lambda: {"others_cpus": next(waiting)}  # noqa: E731
            with mock.patch.object(quiet, "_await_quiet"):
                best = quiet.measure(run, most, lambda text: None)
            return best["others_cpus"], len(list(waiting))

        self.assertEqual(measured([0.9, 0.05, 0.0], 0.1), (0.05, 1))
        self.assertEqual(measured([0.9, 0.05, 0.0], None), (0.9, 2))
        self.assertEqual(measured([0.9, 0.7, *[0.8] * (quiet.TRIES - 2)], 0.1), (0.7, 0))


class Configurations(unittest.TestCase):
    def test_each_endpoint_is_in_each_configuration(self):
        values = {"port": 1, "admin_port": 2}
        every = [*balancers.that_fail(PROGRAMS), *balancers.that_choose(PROGRAMS), *adaptive.balancers(PROGRAMS)]
        for balancer in every:
            contestant = balancer.before([7001, 7002])
            text = (BENCH / "peers" / contestant.config).read_text()
            filled = fill(fill(text, values | contestant.values), values | contestant.values)
            for port in ("7001", "7002"):
                self.assertIn(port, filled, contestant.name)
            self.assertIn(contestant.config, " ".join(contestant.command))

    def test_names_are_distinct(self):
        for able in (balancers.that_fail, balancers.that_choose):
            names = [balancer.contestant.name for balancer in able({**PROGRAMS, "new": Path("new")})]
            self.assertEqual(len(names), len(set(names)))

    def test_each_upstream_of_the_stale_step_has_a_line(self):
        lines = stale.before(stale.contestants(PROGRAMS)[0], 7001).values["upstreams"].splitlines()
        self.assertEqual(len(lines), stale.UPSTREAMS)

    def test_a_gateway_is_chosen_by_its_word_and_a_stranger_is_not(self):
        with mock.patch("shutil.which", return_value="/usr/bin/it"):
            chosen = upstreams.choose(["balance"], ["haproxy-random"], PROGRAMS)
            self.assertEqual([one.name for one in chosen], ["haproxy-random"])
            with self.assertRaisesRegex(BenchError, "no such contestant: varnish"):
                upstreams.choose(["failures"], ["varnish"], PROGRAMS)
        with mock.patch("shutil.which", return_value=None):
            with self.assertRaisesRegex(BenchError, "there is no haproxy\nbench/setup.sh"):
                upstreams.choose(["balance"], ["haproxy-random"], PROGRAMS)


class Tables(unittest.TestCase):
    def test_failures_are_told_by_event(self):
        samples = [failing("gateway", 0, 7), failing("gateway", 1, 9)]
        page = report.document(told("gateway") | {"failures": samples})
        self.assertIn("| gateway 1.2 | 16 of 800 | 16 failed, 2 (2–2) ms, 0 | 0 failed, 1 (1–1) ms, 12 |", page)

    def test_dials_that_one_worker_did_not_need_were_avoidable(self):
        self.assertEqual(workers.avoidable({1: 10, 2: 20, 4: 8, 8: 0}), {1: 0.0, 2: 0.5, 4: 0.0, 8: 0.0})

    def test_connections_have_a_column_for_each_number_of_workers(self):
        usual = {"gateway": "gateway", "kind": "tls", "load": "sparse-2", "acquired": 120, "round": 0}
        samples = [{**usual, "workers": count, "opened": opened} for count, opened in ((1, 6), (16, 96))]
        page = report.document(told() | {"workers": samples})
        self.assertIn("| gateway | 2/s, sparse-2 | tls | 120 | 6 (0%) | 96 (94%) |", page)

    def test_requests_that_meet_a_close_are_counted_by_half(self):
        sample = {"gateway": "old", "lost": [5, 4, 1, 0], "opened": [2, 0, 0, 1], "requests": 90, "failed": 0}
        self.assertIn("| old | 90 | 9 | 1 | 0 | 3 |", report.document(told() | {"stale": [sample]}))


class Pictures(unittest.TestCase):
    def test_a_scale_ends_at_a_round_number_and_begins_with_its_first_tick(self):
        self.assertEqual(Row("", (([130.0, None],),)).top(), 200)
        self.assertEqual(Row("", (([0],),)).ticks(), [0, 5, 10])
        row = Row("", (([1001.0],),), is_logarithmic=True)
        self.assertEqual(row.ticks(), [1, 10, 100, 1000, 10000])
        self.assertAlmostEqual(row.part(100), 0.5)
        self.assertEqual(row.part(0.2), 0.0)

    def test_every_step_is_drawn_with_its_contestants(self):
        chosen = {
            "contestant": "gateway-p2c", "round": 0, "rate": 9, "slow_share": 0.01, "failed": 0,
            "p50": 5000, "p90": 6000, "p99": 7000,
        }  # fmt: skip
        stale_sample = {"gateway": "gateway", "lost": [1] * 10, "opened": [2] * 10}
        found = told("gateway", "envoy", "gateway-p2c") | {
            "failures": [failing("gateway", 0, 7), failing("envoy", 0, 3)],
            "adaptive": [failing("gateway", 0, 7, p99=None)],
            "balance": [chosen],
            "stale": [stale_sample],
        }
        drawn = upstreams.charts(found)
        self.assertEqual(set(drawn), set(upstream_charts.PICTURES))
        words = {name: [part.text for part in ElementTree.fromstring(picture).iter()] for name, picture in drawn.items()}
        self.assertTrue({"gateway 1.2", "envoy 1.2", "dead", "stalled"} <= set(words["failures"]))
        self.assertIn("7.0 ms, 1.0% to the slow one", words["balance"])
        self.assertIn("burst", words["adaptive"])

    def test_a_second_without_an_answer_has_no_latency(self):
        rounds = [failing("gateway", 0, 100, p99=None), failing("gateway", 1, 0, p99=4000.0)]
        self.assertEqual(upstream_charts.median_of(rounds, "p99", 1000), [1.0, 4.0, 1.0, 1.0])
        self.assertEqual(upstream_charts.median_of(rounds[:1], "p99", 1000), [1.0, None, 1.0, 1.0])


if __name__ == "__main__":
    unittest.main()
