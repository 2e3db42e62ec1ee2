"""uWSGI, which embeds Python, and runs threads of it only when told to."""

import sys
from collections import Counter

import pytest

SERVER = 2


@pytest.fixture
def start_uwsgi(start_app, packages, stock):
    """Return a function that starts uWSGI with a Flask app under the agent, two workers, with more options."""

    def start(endpoint, *options):
        program = packages("uwsgi") / "bin" / "uwsgi"
        command = [
            str(program),
            "--http-socket=127.0.0.1:{port}",
            f"--home={sys.prefix}",
            "--need-app",
            "--die-on-term",
        ]
        words = ["--master", "--processes=2", "--disable-logging", "--module=flask_app:app", *options]
        app = start_app([*command, *words], endpoint, STOCK_URL=stock.url)
        app.wait_until_it_listens()
        return app

    return start


@pytest.mark.parametrize("options", [["--lazy-apps"], []], ids=["lazy apps", "forked after loading"])
def test_uwsgi_with_threads(options, start_uwsgi, stock, sink):
    """With --enable-threads each request is one trace over both services, whichever worker serves it."""
    app = start_uwsgi(sink.url, "--enable-threads", *options)

    app.get_all([f"/items/{number + 1}" for number in range(40)])
    app.get_all(["/call"] * 4)
    sink.wait_for(lambda: len(sink.spans) >= 88)
    app.terminate(limit_s=20)

    assert "spanwise: " not in app.errors.read_text()
    servers = [span for _, _, span in sink.spans if span.kind == SERVER]
    assert Counter(span.name for span in servers) == {"GET /items/<int:item_id>": 40, "GET /call": 4}
    assert (len({span.trace_id for span in servers}), len(sink.spans)) == (44, 88)
    assert stock.has_answered(span for _, _, span in sink.spans if span.name == "GET")


@pytest.mark.parametrize(("options", "loading"), [(["--lazy-apps"], 2), ([], 1)], ids=["lazy apps", "forked"])
def test_uwsgi_without_threads_serves(options, loading, start_uwsgi, sink):
    """Without it the agent stays away from the app, which serves as ever, and each process that loads it says so."""
    app = start_uwsgi(sink.url, *options)

    app.get_all([f"/items/{number + 1}" for number in range(10)])
    app.terminate(limit_s=20)

    said = [line for line in app.errors.read_text().splitlines() if "spanwise: " in line]
    assert [line.partition("with ")[2] for line in said] == ["--enable-threads"] * loading
    assert (sink.spans, sink.metrics) == ([], [])
