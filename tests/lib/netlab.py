"""netlab - network namespaces, processes and stacks for the demo, the interop tests and the benchmarks.

Everything made here carries the maker's pid in its name, is removed when the Lab closes (also on Ctrl-C, SIGTERM and
SIGHUP), and, should the maker be killed outright, by the next Lab that opens: so two runs side by side do not meet and an
interrupted one leaves nothing for long. Child processes die with their parent (PR_SET_PDEATHSIG).

Python's standard library alone, and the ip and ethtool commands.
"""
import atexit
import ctypes
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)
PREFIX = 'gzlab'


class Failure(Exception):
    """What failed: why: what to do."""


def sh(*cmd, check=True, timeout=60, env=None):
    try:
        r = subprocess.run(cmd, capture_output=True, text=True, timeout=timeout,
                           env=dict(os.environ, **env) if env else None)
    except subprocess.TimeoutExpired:
        raise Failure(f'{" ".join(cmd)}: no answer within {timeout} s') from None
    if check and r.returncode:
        raise Failure(f'{" ".join(cmd)}: {(r.stderr or r.stdout).strip()}')
    return r.stdout


def alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False
    except PermissionError:
        return True


def cpu_seconds(pid):
    """User and system time of all threads of a process, those that ended included."""
    with open(f'/proc/{pid}/stat') as f:
        v = f.read().rsplit(')', 1)[1].split()
    return (int(v[11]) + int(v[12])) / os.sysconf('SC_CLK_TCK')


def rss_bytes(pid):
    with open(f'/proc/{pid}/statm') as f:
        return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def fd_count(pid):
    return len(os.listdir(f'/proc/{pid}/fd'))


def find_program(name):
    path = shutil.which(name, path=os.environ.get('PATH', '') + ':/usr/sbin:/sbin')
    if not path:
        raise Failure(f'{name}: not found: run devtools/setup')
    return path


class Proc:
    """A started program with its output in a file."""

    def __init__(self, lab, name, popen, log):
        self.lab, self.name, self.p, self.log = lab, name, popen, log
        self.pid = popen.pid
        self.unix_prefix = None

    def output(self):
        with open(self.log, errors='replace') as f:
            return f.read()

    def running(self):
        return self.p.poll() is None

    def wait_output(self, pattern, timeout=20):
        """Waits until the output matches; returns the match."""
        end = time.monotonic() + timeout
        while True:
            m = re.search(pattern, self.output())
            if m:
                return m
            if not self.running():
                raise Failure(f'{self.name} ended ({self.p.returncode}) before it said "{pattern}":\n{self.tail()}')
            if time.monotonic() > end:
                raise Failure(f'{self.name} did not say "{pattern}" within {timeout} s:\n{self.tail()}')
            time.sleep(0.02)

    def tail(self, n=20):
        return '\n'.join('    | ' + l for l in self.output().rstrip().splitlines()[-n:])

    def wait(self, timeout):
        try:
            return self.p.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f'{self.name} did not end within {timeout} s:\n{self.tail()}') from None

    def stop(self, sig=signal.SIGTERM, timeout=10):
        """Ends it; returns the exit code, negative for a signal. A program that ignores SIGTERM is killed."""
        if self.running():
            self.p.send_signal(sig)
            try:
                self.p.wait(timeout)
            except subprocess.TimeoutExpired:
                self.p.kill()
                self.p.wait(10)
        return self.p.returncode

    def cpu(self):
        return cpu_seconds(self.pid)


class Stack:
    """Settings of one process on the stack: configuration file and environment."""
    count = 0

    def __init__(self, lab, device, addr, bits=24, mode='run-to-completion', dpdk_args=None, gateway=None, name=None,
                 **extra):
        Stack.count += 1
        self.lab = lab
        self.addr = addr
        self.mode = mode
        self.library, self.run_dir = lab.library, os.path.join(lab.tmp, 'run')
        self.prefix = f'{PREFIX}{os.getpid()}-{Stack.count}-'
        self.conf = os.path.join(lab.tmp, f'{name or "lstack"}-{Stack.count}.conf')
        mask = '.'.join(str((0xffffffff << (32 - bits) >> s) & 255) for s in (24, 16, 8, 0))
        lines = ['# written by the test laboratory']
        if dpdk_args:
            lines.append('dpdk_args = [' + ', '.join(f'"{a}"' for a in dpdk_args) + ']')
        values = dict(devices=device, host_addr=addr, mask_addr=mask, stack_thread_mode=mode, unix_prefix=self.prefix,
                      on_start_failure='exit', log_file=os.path.join(lab.tmp, f'lstack-{Stack.count}.log'))
        if gateway:
            values['gateway_addr'] = gateway
        values.update(extra)
        for k, v in values.items():
            if v is not None:
                lines.append(f'{k} = "{v}"' if isinstance(v, str) else f'{k} = {v}')
        with open(self.conf, 'w') as f:
            f.write('\n'.join(lines) + '\n')

    def env(self, procname):
        return {'GAZELLE_RUN_DIR': self.run_dir, 'LD_PRELOAD': self.library, 'LSTACK_CONF_PATH': self.conf, 'GAZELLE_BIND_PROCNAME': procname,
                'GAZELLE_ON_START_FAILURE': 'exit'}


class Lab:
    """Opens with `with Lab('name', build_dir) as lab`."""

    def __init__(self, name, build='build', verbose=False):
        self.name = name
        self.build = build if os.path.isabs(build) else os.path.join(ROOT, build)
        self.library = os.path.join(self.build, 'src/liblstack.so')
        self.gazellectl = os.path.join(self.build, 'tools/gazellectl/gazellectl')
        self.verbose = verbose
        self.procs, self.spaces, self.tmp, self.closed = [], [], None, False
        self.serial = 0

    # --- life -------------------------------------------------------------------------------------------------

    def __enter__(self):
        if os.geteuid() != 0:
            raise Failure('network namespaces need root: run as root (or: sudo -E)')
        find_program('ip')
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, self._signal)
        atexit.register(self.close)
        self.sweep()
        self.tmp = tempfile.mkdtemp(prefix=f'{PREFIX}-{self.name}-{os.getpid()}-')
        os.chmod(self.tmp, 0o755)
        return self

    def __exit__(self, *exc):
        self.close()

    def _signal(self, sig, frame):
        # A second Ctrl-C must not cut the clean-up short.
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, signal.SIG_IGN)
        print('\ninterrupted: cleaning up', file=sys.stderr)
        self.close()
        os._exit(128 + sig)

    def close(self):
        if self.closed:
            return
        self.closed = True
        for p in reversed(self.procs):
            if p.running():
                p.p.terminate()
        for p in reversed(self.procs):
            p.stop(signal.SIGTERM, 3)
        for s in self.spaces:
            sh('ip', 'netns', 'del', s, check=False)
        if self.tmp and not os.environ.get('GZLAB_KEEP'):
            shutil.rmtree(self.tmp, ignore_errors=True)

    @staticmethod
    def sweep():
        """Removes what a killed run left: namespaces and directories of makers that no longer live."""
        for line in sh('ip', 'netns', 'list', check=False).splitlines():
            m = re.match(rf'({PREFIX}-[\w-]*?-(\d+)-\w+)', line)
            if m and not alive(int(m[2])):
                sh('ip', 'netns', 'del', m[1], check=False)
        top = tempfile.gettempdir()
        for d in os.listdir(top):
            m = re.match(rf'{PREFIX}-[\w-]*?-(\d+)-', d)
            if m and not alive(int(m[1])):
                shutil.rmtree(os.path.join(top, d), ignore_errors=True)

    # --- namespaces -------------------------------------------------------------------------------------------

    def ns(self, label):
        name = f'{PREFIX}-{self.name}-{os.getpid()}-{label}'
        sh('ip', 'netns', 'add', name)
        self.spaces.append(name)
        self.ip(name, 'link', 'set', 'lo', 'up')
        for key, value in (('net.ipv6.conf.all.disable_ipv6', '1'), ('net.ipv6.conf.default.disable_ipv6', '1'),
                           ('net.ipv4.ip_local_port_range', '1024 65535'), ('net.ipv4.tcp_max_syn_backlog', '8192'),
                           ('net.core.somaxconn', '8192')):
            self.sysctl(name, key, value)
        return name

    def ip(self, ns, *args, check=True):
        return sh('ip', '-n', ns, *args, check=check)

    def sysctl(self, ns, key, value=None):
        def rw():
            path = '/proc/sys/' + key.replace('.', '/')
            if value is None:
                with open(path) as f:
                    return f.read().strip()
            try:
                with open(path, 'w') as f:
                    f.write(value)
            except OSError:
                return None  # a kernel without IPv6 or without CUBIC as a module: recorded by who cares
            return value
        return self.inside(ns, rw)

    def veth(self, a, if_a, b, if_b, mtu=1500):
        """A virtual link between two namespaces, both ends up, default offloads."""
        self.serial += 1
        t = f'gz{os.getpid() % 1000000}{self.serial}'
        sh('ip', 'link', 'add', t + 'a', 'mtu', str(mtu), 'type', 'veth', 'peer', 'name', t + 'b', 'mtu', str(mtu))
        try:
            for tmp, ns, name in ((t + 'a', a, if_a), (t + 'b', b, if_b)):
                sh('ip', 'link', 'set', tmp, 'netns', ns, 'name', name)
                self.ip(ns, 'link', 'set', name, 'up')
        except Failure:
            sh('ip', 'link', 'del', t + 'a', check=False)
            raise

    def addr(self, ns, ifname, cidr):
        """Gives an interface its address, and the route over it CUBIC: a namespace's own default cannot be set to an
        algorithm that the machine restricts, a route's can."""
        self.ip(ns, 'addr', 'add', cidr, 'dev', ifname, 'noprefixroute')
        ip, bits = cidr.split('/')
        n = int.from_bytes(socket.inet_aton(ip), 'big') & (0xffffffff << (32 - int(bits)) & 0xffffffff)
        net = socket.inet_ntoa(n.to_bytes(4, 'big')) + '/' + bits
        route = ('route', 'replace', net, 'dev', ifname, 'src', ip, 'scope', 'link')
        try:
            self.ip(ns, *route, 'congctl', 'cubic')
        except Failure:
            self.ip(ns, *route)

    def no_addr(self, ns, ifname):
        self.ip(ns, 'addr', 'flush', 'dev', ifname)

    def inside(self, ns, fn, *args):
        """Calls fn in a thread that entered the namespace; a socket made there stays in it."""
        box = {}

        def run():
            try:
                fd = os.open(f'/var/run/netns/{ns}', os.O_RDONLY)
                try:
                    if libc.setns(fd, CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), 'setns')
                finally:
                    os.close(fd)
                box['v'] = fn(*args)
            except BaseException as e:  # handed to the caller
                box['e'] = e
        t = threading.Thread(target=run)
        t.start()
        t.join()
        if 'e' in box:
            raise box['e']
        return box['v']

    def connect(self, ns, addr, port, timeout=10.0, retry=0.0):
        """A connected socket of the namespace's kernel. Retries refusals for `retry` seconds."""
        end = time.monotonic() + retry

        def make():
            s = socket.socket()
            s.settimeout(timeout)
            try:
                s.connect((addr, port))
                return s
            except OSError:
                s.close()
                raise
        while True:
            try:
                s = self.inside(ns, make)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return s
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def kernel_tcp(self, ns):
        """TCP segments that the namespace's kernel has seen, in and out."""
        def get():
            with open('/proc/thread-self/net/snmp') as f:
                rows = [l.split() for l in f if l.startswith('Tcp:')]
            d = dict(zip(rows[0][1:], map(int, rows[1][1:])))
            return d['InSegs'] + d['OutSegs']
        return self.inside(ns, get)

    # --- processes --------------------------------------------------------------------------------------------

    def spawn(self, ns, argv, env=None, stack=None, procname=None, cpu=None, name=None, stdin=None, cwd=None,
              nofile=None, under=()):
        """Starts a program in a namespace, on the kernel or (stack=) under the library. under= is a command that starts what
        follows it in other circumstances (setpriv, unshare); it is not under the library itself."""
        argv = [str(a) for a in argv]
        name = name or os.path.basename(argv[0])
        self.serial += 1
        log = os.path.join(self.tmp, f'{self.serial:03}-{name}.out')
        extra = dict(env or {})
        if stack:
            if not os.path.exists(self.library):
                raise Failure(f'{self.library}: not built: devtools/build {os.path.relpath(self.build, ROOT)}')
            prog = os.path.basename(os.path.realpath(find_program(argv[0]) if '/' not in argv[0] else argv[0]))
            extra.update(stack.env(procname or f'{os.path.basename(argv[0])},{prog}'))
        # Not by our own environment: ip and env would load the library as well.
        cmd = ['ip', 'netns', 'exec', ns, *under, 'env', *[f'{k}={v}' for k, v in extra.items()], *argv]

        def child():
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if cpu is not None:
                os.sched_setaffinity(0, {cpu} if isinstance(cpu, int) else set(cpu))
            if nofile:
                hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
                try:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (max(nofile, hard), max(nofile, hard)))
                except (ValueError, OSError):  # not allowed to raise the hard limit: as far as it goes
                    resource.setrlimit(resource.RLIMIT_NOFILE, (min(nofile, hard), hard))
            for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(s, signal.SIG_DFL)
        with open(log, 'wb') as out:
            p = subprocess.Popen(cmd, stdin=stdin or subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                 preexec_fn=child, cwd=cwd or self.tmp, start_new_session=True)
        proc = Proc(self, name, p, log)
        if stack:
            proc.unix_prefix, proc.run_dir = stack.prefix, stack.run_dir
        self.procs.append(proc)
        if self.verbose:
            print(f'    [{p.pid}] {" ".join(argv)}', flush=True)
        return proc

    def run(self, ns, argv, timeout=60, check=True, **kw):
        p = self.spawn(ns, argv, **kw)
        try:
            code = p.wait(timeout)
        except Failure:
            p.stop(signal.SIGKILL)
            raise
        if check and code:
            raise Failure(f'{p.name}: exit code {code}:\n{p.tail()}')
        return p

    # --- what the stack says ----------------------------------------------------------------------------------

    def ctl(self, proc, *args, timeout=15):
        if not os.path.exists(self.gazellectl):
            raise Failure(f'{self.gazellectl}: not built')
        return sh(self.gazellectl, 'lstack', 'show', str(proc.pid), *args, '-u', proc.unix_prefix, timeout=timeout,
                  env={'GAZELLE_RUN_DIR': proc.run_dir})

    def counters(self, proc):
        """Every `key: number` of the statistics and MIB views, summed over the stacks."""
        out = {}
        for args in ((), ('-s',)):
            for k, v in re.findall(r'^\s*([a-z]\w*): +(\d+)\s*$', re.sub(r'  +(?=[a-z]\w*: )', '\n', self.ctl(proc, *args)),
                                   re.M):
                out[k] = out.get(k, 0) + int(v)
        return out

    def json(self, proc, *args):
        return json.loads(self.ctl(proc, *args, '--json'))


def machine_state():
    """What the machine was like: for records beside numbers."""
    def first(path, key):
        try:
            with open(path) as f:
                return next((l.split(':', 1)[1].strip() for l in f if l.startswith(key)), '')
        except OSError:
            return ''
    return {'kernel': os.uname().release, 'cpu': first('/proc/cpuinfo', 'model name'), 'cpus': os.cpu_count(),
            'mhz': first('/proc/cpuinfo', 'cpu MHz'), 'load': os.getloadavg(), 'mem': first('/proc/meminfo', 'MemTotal'),
            'hugepages': first('/proc/meminfo', 'HugePages_Total'), 'time': time.strftime('%Y-%m-%d %H:%M:%S'),
            'dpdk': sh('pkg-config', '--modversion', 'libdpdk', check=False).strip(),
            'commit': sh('git', '-C', ROOT, 'rev-parse', '--short', 'HEAD', check=False).strip()}


def redis_server(lab, ns, bind, port=6379, stack=None, cpu=None, args=(), ready=20, started=None, **kw):
    """Debian keeps the server's code in a file with another name (redis-check-rdb) and goes by argv[0]: where only the
    tools are installed, a link of the right name is all it takes, and no system service comes with it."""
    path = shutil.which('redis-server')
    if not path:
        path = os.path.join(lab.tmp, 'redis-server')
        if not os.path.exists(path):
            os.symlink(find_program('redis-check-rdb'), path)
    lab.serial += 1
    data = os.path.join(lab.tmp, f'redis-{lab.serial}')
    os.mkdir(data)
    p = lab.spawn(ns, [path, '--bind', bind, '--port', port, '--protected-mode', 'no', '--save', '', '--appendonly', 'no',
                       '--daemonize', 'no', '--dir', data, '--maxclients', '60000', *args],
                  stack=stack, cpu=cpu, name='redis-server', nofile=100000, **kw)
    if started:
        started(p)
    p.wait_output('Ready to accept connections', ready)
    p.data = data
    return p


def redis_benchmark_args(addr, port=6379, clients=50, pipeline=1, requests=100000, tests='set,get', size=3, extra=()):
    return [find_program('redis-benchmark'), '-h', addr, '-p', port, '-c', clients, '-P', pipeline, '-n', requests,
            '-t', tests, '-d', size, '--csv', '--precision', '3', *extra]


def parse_redis_csv(text):
    """{test: {rps, p50, p99}} of redis-benchmark --csv (7.0: a header line, then a quoted line per test)."""
    out = {}
    for line in text.splitlines():
        f = [x.strip('"') for x in line.strip().split(',')]
        if len(f) == 8 and re.fullmatch(r'[\d.]+', f[1]):
            out[f[0]] = {'rps': float(f[1]), 'avg': float(f[2]), 'p50': float(f[4]), 'p99': float(f[6])}
    return out
