"""inproc_lib - what part_a and part_d share: running the in-process benchmarks, medians, the state of the machine."""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'tests/lib'))
import chart  # noqa: E402,F401
from netlab import machine_state  # noqa: E402


def options(what):
    p = argparse.ArgumentParser(description=what)
    p.add_argument('--build', default=os.path.join(os.path.dirname(HERE), 'build-release'))
    p.add_argument('--out', default='bench-results')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--requests', type=int, default=200000)
    p.add_argument('--quick', action='store_true', help='a tenth of the requests, one round')
    o = p.parse_args()
    if o.quick:
        o.rounds, o.requests = 1, o.requests // 10
    os.makedirs(o.out, exist_ok=True)
    o.machine = machine()  # before there is load of our own
    return o


def machine():
    def read(path):
        try:
            with open(path) as f:
                return f.read().strip()
        except OSError:
            return ''
    return {**machine_state(), 'thp_shmem': read('/sys/kernel/mm/transparent_hugepage/shmem_enabled')}


def run(o, program, *args):
    """One run on one CPU; its line of JSON as a dict."""
    cmd = [os.path.join(o.build, 'bench', program), *[str(a) for a in args]]
    cpu = max(os.sched_getaffinity(0))
    r = subprocess.run(cmd, capture_output=True, text=True, timeout=900,
                       preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
    lines = r.stdout.strip().splitlines()
    if not lines or r.returncode:
        sys.stdout.write(r.stderr)
        raise SystemExit(f"{' '.join(cmd)}: ended with status {r.returncode}")
    return json.loads(lines[-1])


def median(runs, key):
    return statistics.median(r[key] for r in runs)


def spread(runs, key):
    v = [r[key] for r in runs]
    return f'{min(v):.0f}..{max(v):.0f}' if len(v) > 1 else ''


def save(o, name, data):
    data['machine'] = o.machine
    with open(os.path.join(o.out, name + '.json'), 'w') as f:
        json.dump(data, f, indent=1)
