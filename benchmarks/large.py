"""Map one large generated network in this process, and print CPU seconds of every stage and the peak memory as JSON.

    python benchmarks/large.py mobilenet --target loihi2:hala-point

`python benchmarks/mapping.py scale` runs this for every network of `networks.LARGE`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from itertools import pairwise

from networks import LARGE
from solving import compiling

from nmap.diagnostics import Findings
from nmap.options import Options, split_target
from nmap.partition.cut import pack_network, place_clusters, placement_problem
from nmap.partition.partitioner import Budget
from nmap.target.machine import build_machine
from nmap.target.registry import find_partitioner, find_target


def main() -> None:
    """Build, map and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=sorted(LARGE))
    parser.add_argument("--target", default="loihi2:hala-point")
    parser.add_argument("--effort", type=int, choices=(0, 1, 2), default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--partitioner", default="cpsat")
    args = parser.parse_args()
    name, variant = split_target(args.target)
    target, partitioner = find_target(name), find_partitioner(args.partitioner)
    machine = build_machine(target.spec, variant)
    options, budget = Options(partitioner=args.partitioner, effort=args.effort, seed=args.seed), Budget(args.effort, args.seed)
    with compiling() as compiled:
        marks = [time.process_time()]

        def mark() -> None:
            marks.append(time.process_time() - compiled())

        network = LARGE[args.network]()
        mark()
        findings = Findings()
        quantized = target.quantize(network, options, findings)
        findings.raise_errors()
        mark()
        packed = pack_network(quantized, target, machine, partitioner, options, budget)
        mark()
        problem = placement_problem(quantized, target, machine, packed)
        mapping = place_clusters(machine, packed, problem, partitioner.place(problem, budget), False)
        mark()
    build, quantize, partition, place = (after - before for before, after in pairwise(marks))
    print(json.dumps({
        "network": args.network, "target": args.target, "neurons": network.neurons, "synapses": network.synapses,
        "cores": packed.packing.clusters, "cores_bound": packed.packing.lower_bound, "chips": len({core.chip for core in mapping.cores}),
        "hops": mapping.placement.objective, "hops_bound": mapping.placement.lower_bound, "build_seconds": round(build, 2),
        "quantize_seconds": round(quantize, 2), "partition_seconds": round(partition, 2), "place_seconds": round(place, 2),
        "compile_seconds": round(compiled(), 2), "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }))


if __name__ == "__main__":
    main()
