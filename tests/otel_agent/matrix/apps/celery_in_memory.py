"""Celery in one process: its broker is in memory, and the worker is a thread beside the one that sends tasks."""

from celery.contrib.testing.worker import start_worker
from celery_app import app, send_tasks

if __name__ == "__main__":
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="ERROR"):
        send_tasks()
