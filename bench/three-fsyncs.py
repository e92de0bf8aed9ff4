#!/usr/bin/env python3
"""Measures the floor under one client's set on three servers: until two of three processes have synced a write.

    bench/three-fsyncs.py [DIRECTORY] [ROUNDS]

One, two and three processes write a sector of a preallocated file and call fdatasync, all at the same moment, ROUNDS times
(default 2000). The script prints the median of one call, and the median of the time from the first call until the second
process is done. Three servers that keep synced copies on one disk, and wait for two of them, cannot acknowledge a write
in less time.
"""

import multiprocessing
import os
import sys
import tempfile
import time

SECTOR = 512
SECTORS = 2000


def write(path, rounds, start, results):
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(file, b"\1" * (SECTOR * SECTORS), 0)
    os.fsync(file)
    times = []
    for turn in range(rounds):
        start.wait()
        # By then the process that the barrier released last runs, too.
        time.sleep(0.0003)
        begun = time.perf_counter_ns()
        os.pwrite(file, b"x" * SECTOR, turn % SECTORS * SECTOR)
        os.fdatasync(file)
        times.append((begun, time.perf_counter_ns()))
    results.put(times)


def median_us(nanoseconds):
    return sorted(nanoseconds)[len(nanoseconds) // 2] / 1000


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else "."
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    for processes in (1, 2, 3):
        with tempfile.TemporaryDirectory(dir=directory) as work:
            start, results = multiprocessing.Barrier(processes), multiprocessing.Queue()
            writers = [
                multiprocessing.Process(target=write, args=(f"{work}/{n}", rounds, start, results))
                for n in range(processes)
            ]
            for writer in writers:
                writer.start()
            times = [results.get() for _ in writers]
            for writer in writers:
                writer.join()
        each = median_us([done - begun for one in times for begun, done in one])
        second = min(1, processes - 1)
        together = median_us([
            sorted(done for _, done in turn)[second] - min(begun for begun, _ in turn) for turn in zip(*times)
        ])
        print(f"{processes} at once: one fdatasync {each:.0f} us, until {second + 1} are done {together:.0f} us")


if __name__ == "__main__":
    main()
