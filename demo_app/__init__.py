"""A small shop that looks like a real user's app: two web services, a background job, a cache, and seeded faults."""
