#!/usr/bin/env python3
"""echo_client - many connections at once to an echo server, every byte compared, half-close at the end.

usage: echo_client.py ADDRESS PORT [--conns N] [--bytes N] [--rounds N] [--seed N] [--hold] [--no-half-close]
Each connection sends `bytes` random bytes in pieces of random size, `rounds` times, reads them back, shuts its sending
side down, sends nothing more and must see the end of the stream, and nothing before it.
--hold: prints "held N", waits for a line on standard input, goes round once more, then ends.
Prints "verified B bytes over N connections".
"""
import argparse
import random
import selectors
import socket
import sys
import time

ap = argparse.ArgumentParser()
ap.add_argument('addr')
ap.add_argument('port', type=int)
ap.add_argument('--conns', type=int, default=1)
ap.add_argument('--bytes', type=int, default=1000)
ap.add_argument('--rounds', type=int, default=1)
ap.add_argument('--seed', type=int, default=int(time.time()))
ap.add_argument('--hold', action='store_true')
ap.add_argument('--window', type=int, default=200, help='connections that are being opened at the same time')
ap.add_argument('--stall', type=float, default=30, help='seconds without any progress that count as a hang')
ap.add_argument('--no-half-close', action='store_true')
o = ap.parse_args()
rnd = random.Random(o.seed)
sel = selectors.DefaultSelector()
pool = rnd.randbytes(max(4096, o.bytes * 2))


class Conn:
    def __init__(self, i):
        self.i = i
        self.s = socket.socket()
        self.s.setblocking(False)
        self.state, self.sent, self.got, self.want = 'connecting', 0, 0, b''
        self.s.connect_ex((o.addr, o.port))
        sel.register(self.s, selectors.EVENT_WRITE, self)

    def load(self):
        at = rnd.randrange(len(pool) - o.bytes + 1)
        self.want = memoryview(pool)[at:at + o.bytes]
        self.sent = self.got = 0
        sel.modify(self.s, selectors.EVENT_READ | selectors.EVENT_WRITE, self)


def fail(c, why):
    sys.exit(f'connection {c.i}: {why} (state {c.state}, sent {c.sent}, got {c.got} of {len(c.want)}, seed {o.seed})')


verified = 0


def pump(conns, finished, open_more=None):
    """Runs all connections until `finished` counts as many."""
    global verified
    done, last = 0, time.monotonic()
    total = len(conns) if open_more is None else o.conns
    while done < total:
        if open_more is not None:
            open_more()
        events = sel.select(1)
        if events:
            last = time.monotonic()
        elif time.monotonic() - last > o.stall:
            stuck = [c for c in conns if c.state not in ('idle', 'closed')][:3]
            sys.exit(f'nothing moved for {o.stall} s; {total - done} of {total} unfinished, for instance: ' +
                     ', '.join(f'{c.i} {c.state} sent {c.sent} got {c.got}' for c in stuck))
        for key, ev in events:
            c = key.data
            if c.state == 'connecting' and ev & selectors.EVENT_WRITE:
                err = c.s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if err:
                    fail(c, f'connect: error {err}')
                c.state = 'talking'
                c.load()
                continue
            if c.state == 'talking' and ev & selectors.EVENT_WRITE and c.sent < len(c.want):
                try:
                    c.sent += c.s.send(c.want[c.sent:c.sent + rnd.choice((1, 100, 1460, 9000, 65536))])
                except BlockingIOError:
                    pass
                if c.sent == len(c.want):
                    sel.modify(c.s, selectors.EVENT_READ, c)
            if ev & selectors.EVENT_READ:
                try:
                    data = c.s.recv(65536)
                except BlockingIOError:
                    continue
                except ConnectionError as e:
                    fail(c, str(e))
                if not data:
                    if c.state == 'closing':
                        c.state = 'closed'
                        sel.unregister(c.s)
                        c.s.close()
                        done += finished(c)
                        continue
                    fail(c, 'the stream ended early')
                if c.state != 'talking':
                    fail(c, f'{len(data)} bytes more than were sent')
                if data != c.want[c.got:c.got + len(data)]:
                    fail(c, f'other bytes than were sent, within {len(data)} bytes at {c.got}')
                c.got += len(data)
                verified += len(data)
                if c.got == len(c.want):
                    c.state = 'idle'
                    done += finished(c)


conns = []


def opener():
    while len(conns) < o.conns and sum(1 for c in conns[-o.window:] if c.state == 'connecting') < o.window // 2 + 1:
        conns.append(Conn(len(conns)))


def one(c):
    return 1


pump(conns, one, opener)
for _ in range(o.rounds - 1):
    for c in conns:
        c.state = 'talking'
        c.load()
    pump(conns, one)
if o.hold:
    print(f'held {len(conns)}', flush=True)
    sys.stdin.readline()
    for c in conns:
        c.state = 'talking'
        c.load()
    pump(conns, one)
if o.no_half_close:
    for c in conns:
        c.s.close()
else:
    for c in conns:
        c.state = 'closing'
        c.s.shutdown(socket.SHUT_WR)
    pump(conns, one)
print(f'verified {verified} bytes over {len(conns)} connections', flush=True)
