#!/usr/bin/env python3
"""memcached_check - sets and gets over many connections at once, every value compared.

usage: memcached_check.py ADDRESS PORT [CONNECTIONS] [SECONDS] [SEED]
"""
import random
import socket
import sys
import threading
import time

addr, port = sys.argv[1], int(sys.argv[2])
conns = int(sys.argv[3]) if len(sys.argv) > 3 else 100
seconds = float(sys.argv[4]) if len(sys.argv) > 4 else 3
seed = int(sys.argv[5]) if len(sys.argv) > 5 else int(time.time())
noise = random.Random(seed).randbytes(1 << 20)
failures, verified = [], [0]
lock = threading.Lock()
end = time.monotonic() + seconds


def one(i):
    try:
        rnd = random.Random(seed + i)
        s = socket.create_connection((addr, port), timeout=30)
        f = s.makefile('rb')
        model, n = {}, 0
        while time.monotonic() < end:
            k = b'k%d-%d' % (i, rnd.randrange(50))
            if rnd.random() < 0.5:
                size = rnd.choice((rnd.randrange(100), rnd.randrange(20000)))
                at = rnd.randrange(len(noise) - size)
                v = noise[at:at + size]
                s.sendall(b'set %s 0 0 %d\r\n%s\r\n' % (k, len(v), v))
                if f.readline() != b'STORED\r\n':
                    raise ValueError('not stored')
                model[k] = v
            else:
                s.sendall(b'get %s\r\n' % k)
                line, got = f.readline(), None
                if line.startswith(b'VALUE'):
                    size = int(line.split()[3])
                    got = f.read(size)
                    f.read(2)
                    line = f.readline()
                if line != b'END\r\n':
                    raise ValueError(f'{line!r} where END was due')
                if got != model.get(k):
                    raise ValueError(f'{k}: another value than was set')
            n += 1
        s.close()
        with lock:
            verified[0] += n
    except Exception as e:
        failures.append(f'connection {i}: {type(e).__name__}: {e} (seed {seed})')


threads = [threading.Thread(target=one, args=(i,)) for i in range(conns)]
for t in threads:
    t.start()
for t in threads:
    t.join()
if failures:
    sys.exit('\n'.join(failures[:5]))
print(f'verified {verified[0]} replies over {conns} connections')
