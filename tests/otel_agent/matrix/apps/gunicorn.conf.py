"""Read by gunicorn, which finds it in its directory."""


def post_worker_init(worker):
    """Say that a worker has its signal handlers: a SIGTERM that comes before is lost, and gunicorn waits for 30 s."""
    worker.log.info("worker is ready")
