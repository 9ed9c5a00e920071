"""Measures what Ray adds to a part of the work of `uard.ray`: raylets simulated on this machine.

    pip install "dist/uard-*.whl[ray]"
    python benches/peers/raylets.py [--raylets 16] [--parts 160]

Each raylet has one processor and one worker. Parts that do nothing are run twice, few and many; the difference
is what one more part costs. The start of the workers is printed apart: it is paid once.
"""

import argparse
import statistics
import time

import ray
import ray.cluster_utils

import uard.ray

ROUNDS = 3


class Nothing:
    def __call__(self, row):
        return {"images": 256, "unreadable": 0}


def seconds(parts, workers):
    rows = [{"part": f"{number}/{parts}"} for number in range(1, parts + 1)]
    start = time.perf_counter()
    uard.ray._run(Nothing, {}, rows, workers)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raylets", type=int, default=16)
    parser.add_argument("--parts", type=int, default=160)
    arguments = parser.parse_args()
    start = time.perf_counter()
    cluster = ray.cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(arguments.raylets - 1):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    print(f"{arguments.raylets} raylets: {time.perf_counter() - start:.1f} s")
    seconds(arguments.raylets, arguments.raylets)
    few, many = [], []
    for _ in range(ROUNDS):
        few.append(seconds(arguments.raylets, arguments.raylets))
        many.append(seconds(arguments.raylets + arguments.parts, arguments.raylets))
    first, all_parts = statistics.median(few), statistics.median(many)
    print(f"start of {arguments.raylets} workers with a part each: {first:.2f} s")
    print(f"each further part: {(all_parts - first) / arguments.parts * 1e3:.1f} ms")
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
