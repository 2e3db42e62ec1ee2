"""Child processes of multiprocessing."""

import pytest

HOST = """
import multiprocessing, sqlite3, time
def work(number):
    connection = sqlite3.connect(":memory:")
    connection.execute("SELECT 1")
    connection.close()
if __name__ == "__main__":
    process = multiprocessing.get_context("METHOD").Process(target=work, args=(1,))
    process.start()
    process.join()
    print(process.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_child_sends_its_last_spans(sink, run_host, method):
    """What a child records right before its end arrives, once, under an instance id of its own."""
    outcome = run_host(HOST.replace("METHOD", method), OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.out, outcome.err) == ("0\n", "")
    assert sink.span_names() == ["SELECT"]
    (child,) = {resource["service.instance.id"] for resource, _, _ in sink.spans}
    parents = {resource["service.instance.id"] for resource, _, _ in sink.metrics} - {child}
    assert parents


@pytest.mark.parametrize("fault", ["nobody listens", "nobody answers"])
def test_child_ends_soon_without_a_collector(run_host, dead_port, black_hole, fault):
    """The end of a child waits two seconds at most for a collector that does not take its spans."""
    port = dead_port if fault == "nobody listens" else black_hole
    script = HOST.replace("METHOD", "fork").replace(
        "    process.join()",
        "    begin_s = time.monotonic()\n    process.join()\n    assert time.monotonic() - begin_s < 2",
    )

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")

    assert (outcome.code, outcome.out, outcome.err) == (0, "0\n", "")
