"""pymemcache."""

import pytest

pytest.importorskip("pymemcache", reason="pymemcache is not installed")


def test_command_is_one_client_span(sink, run_host):
    """Each command is one CLIENT span with the server it went to."""
    outcome = run_host(
        """
import socket, threading
from pymemcache.client.base import Client
server = socket.create_server(("127.0.0.1", 0))
def answer():
    connection, _ = server.accept()
    connection.recv(1000)
    connection.sendall(b"VALUE tea 0 1\\r\\n7\\r\\nEND\\r\\n")
    connection.recv(1000)
    connection.close()
threading.Thread(target=answer).start()
client = Client(server.getsockname())
print(client.get("tea"))
client.close()
server.close()
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert (outcome.out, outcome.err) == ("b'7'\n", "")
    ((_, _, span),) = sink.spans
    assert (span.name, span.kind) == ("get", 3)
    assert sink.attributes_of(span)["db.system.name"] == "memcached"
