"""What an observable instrument asks for: a function that reads values, made safe for the SDK to call."""

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Observation

from otel_agent.guard import guard

# One reading: (value, attributes) pairs of one instrument.
Reading = Iterable[tuple[float, Mapping[str, str | int]]]


def callback(name: str, read: Callable[[], Reading]) -> Callable[[CallbackOptions], list[Observation]]:
    """Turn a reading into the callback of the instrument `name`; it observes nothing when the reading fails."""

    def observe(_options: CallbackOptions) -> list[Observation]:
        with guard(f"read {name}"):
            return [Observation(value, attributes) for value, attributes in read()]
        return []

    return observe
