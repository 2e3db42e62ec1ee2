"""The attributes of a span, which are as good as always the same as those of many others."""

from typing import Any

from opentelemetry.attributes import BoundedAttributes

from otel_agent.attribute_values import CleanAttributes


class SpanAttributes(BoundedAttributes):
    """Attributes of a span that may share their dictionary with other spans until they change."""

    # To ask for this is much quicker than `isinstance`, for the SDK's attributes are an abstract mapping.
    is_lean = True
    maxlen: int | None = None
    dropped = 0
    max_value_len: int | None = None
    _immutable = False
    _dict: dict[str, Any]

    def _setitem_locked(self, key: str, value: Any) -> None:
        self.own()
        super()._setitem_locked(key, value)

    def __delitem__(self, key: str) -> None:
        if not self._immutable:
            self.own()
        super().__delitem__(key)

    def has_room_for(self, count: int) -> bool:
        """Tell whether so many more attributes, of any length, keep within the limits."""
        most = self.maxlen
        return self.max_value_len is None and (most is None or len(self._dict) + count <= most)

    def own(self) -> None:
        """Share the dictionary no longer."""
        if type(self._dict) is CleanAttributes:
            self._dict = dict(self._dict)
