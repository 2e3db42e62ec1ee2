"""The queue of what is to be sent: bounded, counted, and patient with a collector that is away."""

import threading

from otel_agent.export_queue import ExportQueue


def queue_to(export, retry_after_s=lambda: None, capacity=10, batch_size=4):
    """Return a queue that sends after an hour unless a batch is full."""
    return ExportQueue("Test", export, retry_after_s, capacity, batch_size, 3600.0)


def end(queue):
    """End the queue and wait for it."""
    queue.begin_end()
    queue.join(5)


def test_items_arrive_once_and_in_order():
    """What is put before the end is exported, in batches and in order, and nothing counts as dropped."""
    batches = []
    queue = queue_to(lambda batch: batches.append(list(batch)) or True, capacity=1000)
    for n in range(10):
        queue.put(n)
    end(queue)

    assert [item for batch in batches for item in batch] == list(range(10))
    assert max(len(batch) for batch in batches) <= 4
    assert queue.count_dropped() == 0


def test_oldest_are_dropped_and_counted():
    """A collector that is away leaves the newest items in the queue, and the others in the count."""
    queue = queue_to(lambda _: False, retry_after_s=lambda: 3600.0)
    for n in range(100):
        queue.put(n)

    assert queue.flush() is False
    assert queue.count_dropped() == 90


def test_kept_items_arrive_when_the_collector_is_back():
    """Items that could not be sent are sent later, in order and once."""
    is_there, arrived = [False], []
    queue = queue_to(lambda batch: is_there[0] and (arrived.extend(batch) or True), retry_after_s=lambda: 3600.0)
    for n in range(8):
        queue.put(n)
    queue.flush()
    is_there[0] = True
    end(queue)

    assert arrived == list(range(8))
    assert queue.count_dropped() == 0


def test_refused_for_good_is_lost_and_counted():
    """A batch that the collector will never take is not tried again."""
    tried = []
    queue = queue_to(lambda batch: tried.append(list(batch)) or False)
    for n in range(3):
        queue.put(n)
    end(queue)

    assert tried == [[0, 1, 2]]
    assert queue.count_dropped() == 3


def test_count_is_exact_with_many_threads():
    """Whatever is put by eight threads has either arrived or is counted."""
    arrived = []
    queue = queue_to(lambda batch: arrived.extend(batch) or True, capacity=50)
    threads = [threading.Thread(target=lambda: [queue.put(n) for n in range(2000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    end(queue)

    assert len(arrived) + queue.count_dropped() == 16_000


def test_no_thread_before_the_first_item():
    """A queue to which nothing is put has no thread, not even to end."""
    queue = queue_to(lambda _: True)
    before = threading.active_count()
    end(queue)

    assert threading.active_count() == before
