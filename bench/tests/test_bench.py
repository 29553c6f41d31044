"""What needs neither proxies nor a quiet machine: python3 -m unittest discover -s bench/tests -t bench"""

import unittest
from pathlib import Path
from xml.etree import ElementTree

import bench
from lib import chart, check, credentials, load, report, tables, targets
from lib.arena import FILTERS
from lib.contestants import fill
from lib.peers import contestants
from lib.processes import BenchError
from lib.scenarios import PLAIN, SCENARIOS


def sample(scenario: str, contestant: str, number: int, cpu_us: float, **more) -> dict:
    """What a round of `cpu` leaves."""
    usual = {
        "system_us": 1.0,
        "busy": 0.9,
        "requests": 1000,
        "failed": 0,
        "requests_per_second": 50_000.0,
        "origin_requests": 1064,
        "origin_connections": 64,
        "tls_resumed": 0,
    }
    return {
        "scenario": scenario,
        "contestant": contestant,
        "round": number,
        "cpu_us": cpu_us,
        **usual,
        **more,
    }


def results(**steps) -> dict:
    """Results of a run."""
    told = {
        one.name: {"title": one.title, "version": "1.2", "filter_kind": one.filter_kind}
        for one in contestants({"gateway": Path("gateway")})
    }
    machine = {"cpu": "a <CPU>", "cores": 2, "kernel": "6.1", "load_before": 0.1}
    run = {
        "date": "2026-11-24 09:00",
        "command": "bench.py all",
        "machine": machine,
        "commit": "abc",
        "gateways": ["gateway"],
        "contestants": told,
        "settings": {"rounds": 3, "seconds": 2, "connections": 64},
    }
    return {"format": 1, "run": run, **steps}


CPU = [
    sample("s1", "nginx", 0, 10.0),
    sample("s1", "gateway", 0, 11.0),
    # A slow round of the machine: the ratio stays.
    sample("s1", "nginx", 1, 20.0),
    sample("s1", "gateway", 1, 22.0),
    sample("s1", "nginx", 2, 12.0),
    sample("s1", "gateway", 2, 11.4),
]


class Credentials(unittest.TestCase):
    """Credentials of scenarios with policies."""

    def test_signature_has_both_numbers_in_full_length(self):
        """DER has a zero before a high first bit, and none before a small number."""
        high, small = b"\0" + b"\xff" * 32, b"\x01" * 31
        numbers = b"\x02\x21" + high + b"\x02\x1f" + small
        der = b"\x30" + bytes([len(numbers)]) + numbers
        self.assertEqual(credentials.fixed_length(der), b"\xff" * 32 + b"\0" + small)

    def test_policies_are_for_those_that_have_them(self):
        """A filter's contestant has none."""
        told = {
            one.name for one in contestants({"gateway": Path("gateway")}) if one.takes_part(SCENARIOS["p-basic"])
        }
        self.assertEqual(told, {"gateway", "nginx"})

    def test_records_are_compared_with_the_same_program_without_them(self):
        """Elsewhere the one that records takes no part."""
        names = lambda scenario: {
            one.name for one in contestants({"gateway": Path("gateway")}) if one.takes_part(SCENARIOS[scenario])
        }
        self.assertEqual(names("t-traces"), {"gateway", "gateway-traces"})
        self.assertEqual(names("t-logs"), {"gateway", "gateway-logs", "nginx", "nginx-logs"})
        elsewhere = names("s1") | names("p-key") | names("f-heads")
        self.assertFalse({"gateway-traces", "gateway-logs"} & elsewhere)


class Reports(unittest.TestCase):
    def test_a_ratio_is_the_median_of_those_within_a_round(self):
        table = report.rounds(CPU, "cpu_us")
        self.assertAlmostEqual(report.ratio(table["s1", "gateway"], table["s1", "nginx"]), 1.1)
        self.assertIsNone(report.ratio(table["s1", "gateway"], {}))

    def test_a_spread_has_the_median_first(self):
        self.assertEqual(tables.spread([3, 1, 2000], 0), "3 (1–2,000)")

    def test_requests_that_failed_mark_a_figure(self):
        page = report.cpu(results(cpu=[*CPU, sample("s1", "haproxy", 0, 9.0, failed=7)]))
        self.assertIn("| HAProxy 1.2 (!) 7 failed |", page)
        self.assertNotIn("(!)", report.cpu(results(cpu=CPU)))

    def test_a_filter_is_compared_with_the_same_proxy_without_one(self):
        page = report.cpu(
            results(cpu=[*CPU, sample("s9a", "gateway-rust", 1, 25.0), sample("s9a", "nginx-lua", 2, 15.0)])
        )
        self.assertIn("| gateway 1.2, wasm from Rust | 25.0 (25.0–25.0) |", page)
        self.assertIn("| +3.0 |", page)

    def test_without_nginx_programs_of_the_gateway_are_compared_with_the_first(self):
        page = report.cpu(results(cpu=[sample("s1", "gateway", 0, 10.0), sample("s1", "haproxy", 0, 12.0)]))
        self.assertIn("× gateway", page)
        self.assertIn("| 1.20 |", page)

    def test_those_loaded_at_once_are_compared_with_the_first_of_their_scenario(self):
        pairs = [(40.0, 42.0), (50.0, 53.0), (44.0, 46.64)]
        page = report.together(
            results(
                together=[
                    sample("t-logs", name, number, micros)
                    for number, pair in enumerate(pairs)
                    for name, micros in zip(("haproxy", "haproxy-logs"), pair)
                ]
            )
        )
        self.assertIn("| 44.0 (40.0–50.0) | 1.000 (1.000–1.000) |", page)
        self.assertIn("| 46.6 (42.0–53.0) | 1.060 (1.050–1.060) |", page)

    def test_every_step_has_its_section(self):
        window = {
            "contestant": "nginx",
            "round": 0,
            "load": "rate",
            "took_ms": [12.0],
            "done": 9,
            "failed": 1,
        }
        paced = {"p50": 1, "p99": 2, "p99_9": 3, "max": 4}
        page = report.document(
            results(
                cpu=CPU,
                latency=[
                    {"scenario": "s1", "contestant": "origin", "round": 0, "rate": 5000, "failed": 0, **paced}
                ],
                memory=[
                    {
                        "contestant": "nginx",
                        "idle_connections": 9,
                        "started_kib": 1024,
                        "warm_kib": 1,
                        "idle_kib": 1,
                        "peak_rss_kib": 1,
                        "kib_per_connection": 0.5,
                    }
                ],
                reload=[{**window, "reloads": 3, **paced}, {**window, "load": "full", "reloads": 3}],
                founding=[
                    {**sample(name, "nginx", 0, 1.0), "established": 64, "time_wait": 0}
                    for name in ("s7", "s7-off")
                ],
            )
        )
        for words in ("no proxy", "KiB per idle connection", "all it takes", "TIME_WAIT", "| 0.0 | 0.50 |"):
            self.assertIn(words, page)


class Targets(unittest.TestCase):
    def test_a_target_is_met_or_missed(self):
        self.assertIn("| s1 against nginx | ≤ 1.1 × | 1.10 | met |", targets.table(results(cpu=CPU)))
        dearer = [sample("s1", "nginx", 0, 10.0), sample("s1", "gateway", 0, 11.2)]
        self.assertIn(
            "| s1 against nginx | ≤ 1.1 × | 1.12 | **missed** |", targets.table(results(cpu=dearer))
        )

    def test_what_was_not_measured_has_no_row(self):
        self.assertEqual(targets.table(results()), "")
        self.assertEqual(targets.table(results(cpu=CPU)).count("\n"), 2)

    def test_the_best_peer_is_the_one_to_beat(self):
        filtered = [("gateway", 50.0), ("gateway-rust", 60.0), ("nginx-lua", 90.0), ("nginx-njs", 80.0)]
        page = targets.table(results(cpu=[sample("s9b", name, 0, micros) for name, micros in filtered]))
        self.assertIn("| 0.62 | met |", page)
        self.assertIn("| 0.75 | **missed** |", page)

    def test_many_routes_are_compared_with_few(self):
        page = targets.table(
            results(cpu=[sample("s8-10", "gateway", 0, 10.0), sample("s8-10000", "gateway", 0, 10.2)])
        )
        self.assertIn("| s8-10000 against s8-10 | ≤ 1.03 × | 1.02 | met |", page)

    def test_reloads_may_fail_nothing(self):
        windows = [
            {
                "contestant": "gateway",
                "load": "rate",
                "reloads": reloads,
                "failed": failed,
                "p99_9": 900 + reloads,
            }
            for reloads, failed in ((0, 5), (10, 1))
        ]
        page = targets.table(results(reload=windows))
        self.assertIn("| requests that fail over all reloads | ≤ 0 | 1.00 | **missed** |", page)
        self.assertIn("| 1.01 | **missed** |", page)


class Charts(unittest.TestCase):
    def test_every_scenario_has_a_panel_and_every_contestant_a_bar(self):
        picture = ElementTree.fromstring(
            chart.draw(results(cpu=[*CPU, sample("s9a", "envoy-wasm", 0, 1234.5)]))
        )
        text = [line for part in picture.iter() for line in [part.text or ""]]
        for words in ("1 KiB, keep-alive", "s1", "gateway", "nginx", "Envoy, wasm from C", "1,234", "11.4"):
            self.assertIn(words, text)

    def test_the_least_comes_first(self):
        self.assertEqual([bar.middle for bar in chart.bars_of(results(cpu=CPU), "s1")], [11.4, 12.0])


class Loads(unittest.TestCase):
    def test_wrk_is_read(self):
        done = load.read_wrk('Running\nJSON {"requests": 100, "seconds": 2.0, "failed": 3}\n')
        self.assertEqual((done.requests, done.failed, done.seconds), (97, 3, 2.0))
        with self.assertRaises(BenchError):
            load.read_wrk("unable to connect")

    def test_h2load_is_read(self):
        text = "requests: 9 total, 9 started, 9 done, 7 succeeded, 1 failed, 1 errored, 0 timeout"
        done = load.read_h2load(text, 2)
        self.assertEqual((done.requests, done.failed, done.seconds), (7, 2, 2))


class Checks(unittest.TestCase):
    def test_connections_are_kept_where_they_should_be(self):
        def counted(scenario: str, **counts: int) -> str:
            usual = {"requests": check.REQUESTS, "plain_connections": 0, "tls_connections": 0, "h2_connections": 0}
            return check.connections({**usual, **counts}, SCENARIOS[scenario])

        self.assertEqual(counted("s1", plain_connections=4), "")
        self.assertIn("does not keep", counted("s1", plain_connections=check.REQUESTS))
        self.assertIn("other port", counted("s7", plain_connections=1))
        self.assertEqual(counted("s7-off", tls_connections=check.REQUESTS), "")
        self.assertIn("keeps connections", counted("off", plain_connections=4))
        self.assertIn("299 requests", counted("s1", requests=299))


class Contestants(unittest.TestCase):
    def test_a_name_without_a_value_is_an_error(self):
        self.assertEqual(fill("listen {{port}};", {"port": 80}), "listen 80;")
        with self.assertRaises(KeyError):
            fill("{{prot}}", {"port": 80})

    def test_each_program_of_the_gateway_has_a_name(self):
        programs = bench.gateways(["/a,new=/b", "/c"])
        self.assertEqual(list(programs), ["gateway", "new", "gateway-3"])
        names = [one.name for one in contestants(programs)]
        self.assertEqual(len(names), len(set(names)))
        self.assertIn("new-rust", names)

    def test_every_scenario_with_a_filter_has_one_without(self):
        self.assertEqual({name for name, one in SCENARIOS.items() if one.filter}, set(PLAIN))

    def test_every_module_has_a_source(self):
        for one in contestants({"gateway": Path("gateway")}):
            for name in one.filters & {"nothing", "heads"}:
                self.assertTrue((FILTERS.parent.parent / "filters" / f"{name}.c").exists())


if __name__ == "__main__":
    unittest.main()
