"""A plain script: alone, with a pool of processes, or with children started in either way."""

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import requests
import stock


def call(_number):
    requests.get(stock.URL, timeout=10)


def work(numbers):
    for number in numbers:
        stock.find(number)
    call(0)


def children(method, count, calls):
    context = multiprocessing.get_context(method)
    shares = [range(1 + i, count + 1, calls) for i in range(calls)]
    processes = [context.Process(target=work, args=(share,)) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


if __name__ == "__main__":
    mode, count, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if mode == "alone":
        for number in range(count):
            stock.find(number + 1)
        for number in range(calls):
            call(number)
        print("done", flush=True)
        time.sleep(60)
    elif mode == "workers":
        with ProcessPoolExecutor(4) as pool:
            list(pool.map(stock.find, range(1, count + 1)))
            list(pool.map(call, range(calls)))
    elif mode == "pool":  # leaving it terminates its processes
        with multiprocessing.get_context("fork").Pool(4) as pool:
            pool.map(stock.find, range(1, count + 1), 1)
            pool.map(call, range(calls), 1)
    else:
        children(mode, count, calls)
