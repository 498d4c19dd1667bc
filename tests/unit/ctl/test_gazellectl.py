#!/usr/bin/env python3
# gazellectl against a control server with canned answers: the lines that scripts know (golden/*.txt), selection of instances, arguments and
# exit statuses. Usage: test_gazellectl.py GAZELLECTL [--update]
import json, os, re, shutil, socket, struct, subprocess, sys, tempfile, threading

TOOL = sys.argv[1]
UPDATE = '--update' in sys.argv
HERE = os.path.dirname(os.path.abspath(__file__))
FIX = json.load(open(os.path.join(HERE, 'golden', 'answers.json')))
failures = 0


class Server:
    """One instance: answers are those of the fixture, some of it overridden."""

    def __init__(self, directory, name, **hello):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(os.path.join(directory, name))
        self.sock.listen(8)
        self.hello = dict(FIX['hello'], **hello)
        self.sets = []
        self.stats_asked = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            c, _ = self.sock.accept()
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def answer(self, rq):
        cmd = rq['cmd']
        if cmd == 'hello':
            return self.hello
        if cmd == 'set':
            self.sets.append({k: v for k, v in rq.items() if k != 'cmd'})
            return dict(FIX['set'], **({'lowpower': rq['lowpower']} if 'lowpower' in rq else {}))
        if cmd == 'conns':
            # in steps of two rows, as a large table comes
            rows = [r for r in FIX['conns'] if rq.get('stack', r['stack']) == r['stack'] and (r['proto'] == 'tcp' or rq.get('udp'))]
            at = rq.get('cursor', 0)
            out = {'ok': True, 'conns': rows[at:at + 2]}
            if at + 2 < len(rows):
                out['next'] = at + 2
            return out
        if cmd == 'stats':
            self.stats_asked += 1
            out = json.loads(json.dumps(FIX['stats']))
            for st in out['stacks']:
                for k in ('rx_pkts', 'tx_pkts', 'rx_bytes', 'tx_bytes'):
                    st[k] += (self.stats_asked - 1) * (10 << 20 if 'bytes' in k else 1000)
            return out
        return FIX.get(cmd, {'ok': False, 'error': 'request: unknown command: ' + cmd})

    def serve(self, c):
        def read(n):
            b = b''
            while len(b) < n:
                part = c.recv(n - len(b))
                if not part:
                    raise EOFError
                b += part
            return b
        try:
            while True:
                rq = json.loads(read(struct.unpack('>I', read(4))[0]))
                out = json.dumps(self.answer(rq)).encode()
                c.sendall(struct.pack('>I', len(out)) + out)
        except (EOFError, OSError):
            c.close()


def run(*args, code=0):
    global failures
    p = subprocess.run([TOOL, *args], capture_output=True, text=True, timeout=30, env=ENV)
    if p.returncode != code:
        print(f'FAIL {args}: exit status {p.returncode}, not {code}: {p.stderr}')
        failures += 1
    return p


def check(ok, what):
    global failures
    if not ok:
        print('FAIL', what)
        failures += 1


def golden(name, text):
    global failures
    path = os.path.join(HERE, 'golden', name + '.txt')
    if UPDATE:
        open(path, 'w').write(text)
        return
    want = open(path).read()
    if text != want:
        failures += 1
        print(f'FAIL {name}:')
        for a, b in zip(want.split('\n'), text.split('\n')):
            if a != b:
                print('  want', repr(a), '\n  have', repr(b))


d = tempfile.mkdtemp(prefix='gz-golden-')
ENV = dict(os.environ, GAZELLE_RUN_DIR=d, TZ='UTC')
try:
    one = Server(d, 'lstack_cmd.sock')
    two = Server(d, 'x_lstack_cmd.sock', pid=4242, comm='nginx', addr='192.168.1.11', unix_prefix='x_')
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(os.path.join(d, 'old_lstack_cmd.sock'))
    stale.close()
    A = '192.168.1.10'

    # --- the views, in the shapes that are known
    golden('stats', run('lstack', 'show', A).stdout)
    FIX['stats']['low_power']['on'] = 1
    check(run('lstack', 'show', A).stdout.startswith('low_power_mode: ON, rx_pkts: 20, detect_ms: 1000ms, pkts_in_detect: 1000\n'), 'low power line')
    FIX['stats']['low_power']['on'] = 0
    conns = run('lstack', 'show', A, '-c').stdout
    check(re.search(r'stack tid:  32101 ------time=\d{4}-\d{1,2}-\d{1,2} \d{1,2}:\d{1,2}:\d{1,2}$', conns, re.M), 'time of -c')
    golden('conns', re.sub(r'time=.*', 'time=T', conns))
    golden('conns_extended', re.sub(r'time=.*', 'time=T', run('lstack', 'show', A, '-c', '-e').stdout))
    check(run('lstack', 'show', A, '-c', '--extended', 'port', '40120').stdout.count('cubic') == 1, '--extended beside a filter')
    for word in ('connect', 'connetct'):
        check(re.sub(r'time=.*', '', run('lstack', 'show', A, word).stdout) == re.sub(r'time=.*', '', conns), word)
    golden('snmp', run('lstack', 'show', A, '-s').stdout)
    golden('xstats', run('lstack', 'show', A, '-x').stdout)
    golden('features', run('lstack', 'show', A, 'nic-features').stdout)
    golden('intr', run('lstack', 'show', A, '-I').stdout)
    golden('protocol', run('lstack', 'show', A, '-p', 'TCP').stdout)
    golden('drops', run('lstack', 'show', A, '-d').stdout)
    golden('neigh', run('lstack', 'show', A, '-n').stdout)
    golden('config', run('lstack', 'config', A).stdout)
    rate = run('lstack', 'show', A, '-r', '1').stdout.split('\n')
    check(rate[0] == '------ Statistics of lstack rate   stack tid:  32101 ------', rate[0])
    check(re.fullmatch(r'rx_pkts: \d{1,5} {10,15}rx_bytes:   \d\d\.\d\dMb/s  rx_drop: 0 {14}', rate[1]), repr(rate[1]))
    check(re.fullmatch(r'tx_pkts: \d{1,5} {10,15}tx_bytes:   \d\d\.\d\dMb/s  tx_drop: 0 {14}', rate[2]), repr(rate[2]))

    # --- filters of -c
    check('10.0.0.9' not in run('lstack', 'show', A, '-c', 'port', '6379').stdout, 'port filter')
    check(run('lstack', 'show', A, '-c', 'state', 'listen').stdout.count('LISTEN') == 2, 'state filter')
    check('Total connections: 5, display connections: 1' in run('lstack', 'show', A, '-c', 'addr', '10.0.0.9').stdout, 'address filter')

    # --- JSON for every view
    for view in ([], ['-s'], ['-c'], ['-x'], ['-k'], ['-d'], ['-n'], ['-I'], ['-p', 'UDP']):
        json.loads(run('lstack', 'show', A, *view, '--json').stdout)
    json.loads(run('lstack', 'show', A, '-r', '1', '--json').stdout)
    check(len(json.loads(run('lstack', 'show', A, '-c', '--json').stdout)['conns']) == 6, 'JSON has datagram sockets as well')
    check(len(json.loads(run('--json', 'lstack', 'list').stdout)['instances']) == 2, 'list as JSON, stale sockets left out')
    check('conns' in json.loads(run('lstack', 'dump', A).stdout), 'dump')

    # --- which instance
    check('nginx' in run('lstack', 'list').stdout and 'redis' in run('lstack', 'list').stdout, 'list shows both')
    check('nginx' not in run('lstack', 'list', '-u', '').stdout, 'list of one prefix')
    run('lstack', 'show', '4242')
    for args in (('-u', 'x_', 'lstack', 'show', '4242'), ('lstack', '-u', 'x_', 'show', '4242'), ('lstack', 'show', '4242', '-u', 'x_'),
                 ('lstack', 'show', '4242', '-u', 'x_', '-s')):
        run(*args)
    check('no running instance has this pid' in run('lstack', 'show', '31337', code=1).stderr, 'a pid that is not there')
    check('no running instance has this address' in run('lstack', 'show', '192.168.1.99', code=1).stderr, 'an address that is not there')
    run('lstack', 'show', A, '-u', 'x_', code=1)
    run('lstack', 'show', A, '-u', 'nobody', code=1)
    check('which instance' in run('lstack', 'config', code=1).stderr, 'two instances, none named')

    # --- changes
    p = run('lstack', 'set', A, 'loglevel', 'debug')
    check(p.stdout == '' and one.sets[-1] == {'loglevel': 'debug'}, 'loglevel prints nothing')
    check(run('lstack', 'set', A, 'lowpower', '1').stdout ==
          'Lstack low power mode: ON\nLow power param: rx_pkts:20, detect_ms:1000ms, pkts_in_detect:1000\n', 'lowpower 1')
    check(run('lstack', 'set', '4242', 'lowpower', '0').stdout == 'Lstack low power mode: OFF\n' and two.sets[-1] == {'lowpower': 0}, 'lowpower 0')

    # --- the grammar
    for args in ((), ('nonsense',), ('lstack',), ('lstack', 'nonsense'), ('lstack', 'show'), ('lstack', 'show', 'redis'), ('lstack', 'show', A, '-q'),
                 ('lstack', 'show', A, '-s', '-c'), ('lstack', 'show', A, '-p'), ('lstack', 'show', A, '-p', 'SCTP'), ('lstack', 'set', A),
                 ('lstack', 'set', A, 'loglevel', 'loud'), ('lstack', 'set', A, 'lowpower', '2'), ('lstack', 'set', A, 'speed', '9'),
                 ('lstack', 'show', A, '-c', 'port', 'x'), ('lstack', 'list', 'x'), ('lstack', 'show', A, '-u'), ('run',), ('run', '-i', 'eth0', '--', 'ls'),
                 ('run', '-i', 'eth0', '-a', '1.2.3.4', '--', 'ls'), ('run', '-c', 'x', '-i', 'y', '--', 'ls'), ('run', '-i', 'a"b', '-a', '1.2.3.4/8', 'ls')):
        p = run(*args, code=2)
        check(p.stdout == '' and 'gazellectl' in p.stderr, f'{args}: says so on standard error')
    for word in ('-h', '--help', 'help'):
        check(run(word).stdout.startswith('Usage: gazellectl'), 'help')
    for view in ('-l', 'latency', '-a', 'aggragate', '-v', 'virtio'):
        check('not in this version' in run('lstack', 'show', A, view, code=1).stderr, view)
    check('at most 1800' in run('lstack', 'show', A, '-s', '4000').stderr, 'time above its limit')

    # --- run
    env = subprocess.run(['sh', '-c', 'command -v env'], capture_output=True, text=True).stdout.strip()
    ENV['GAZELLE_LIBRARY'] = os.path.join(d, 'lib.so')
    open(ENV['GAZELLE_LIBRARY'], 'w').close()
    ENV.pop('LD_PRELOAD', None)
    p = run('run', '-i', 'eth9', '-a', '10.1.2.3/24', '-g', '10.1.2.1', '-m', 'wakeup', '--', env)
    got = dict(line.split('=', 1) for line in p.stdout.split('\n') if '=' in line)
    check(got.get('LD_PRELOAD') == ENV['GAZELLE_LIBRARY'], 'LD_PRELOAD')
    check('env' in got.get('GAZELLE_BIND_PROCNAME', '').split(','), 'name')
    conf = open(got['LSTACK_CONF_PATH']).read()
    for line in ('devices = "eth9"', 'host_addr = "10.1.2.3"', 'mask_addr = "255.255.255.0"', 'gateway_addr = "10.1.2.1"',
                 'stack_thread_mode = "run-to-wakeup"', 'on_start_failure = "exit"'):
        check(line in conf, 'configuration has ' + line)
    first = got['LSTACK_CONF_PATH']
    p = run('run', '-c', first, '--', env)
    check('LSTACK_CONF_PATH=' + first in p.stdout, '-c')
    run('run', '-i', 'eth9', '-a', '10.1.2.3/24', '--', env)
    check(not os.path.exists(first), 'configurations of ended programs are removed')
    check('no such program' in run('run', '-i', 'eth9', '-a', '10.1.2.3/24', '--', 'no-such-program-here', code=1).stderr, 'no such program')
    ENV['GAZELLE_LIBRARY'] = '/nonexistent.so'
    check('GAZELLE_LIBRARY' in run('run', '-i', 'eth9', '-a', '10.1.2.3/24', '--', env, code=1).stderr, 'no library')

    # --- completion is well formed and knows the views
    p = run('--generate', 'bash')
    check(subprocess.run(['bash', '-n'], input=p.stdout, text=True).returncode == 0 and 'nic-features' in p.stdout, 'bash completion')
    check('_describe' in run('--generate', 'zsh').stdout, 'zsh completion')
finally:
    shutil.rmtree(d)
print('FAILED' if failures else 'ok')
sys.exit(1 if failures else 0)
