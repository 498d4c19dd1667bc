#!/usr/bin/env python3
"""redis_check - talks RESP by itself, so that every byte of every answer is compared with what was written.

usage: redis_check.py ADDRESS PORT [--keys N] [--clients N] [--pipeline N] [--seconds S] [--max-value B] [--bgsave] [--seed N]
`clients` connections at once, each with `pipeline` commands in flight, SET and GET of random keys with random values; each
client owns its share of the keys and knows what they must hold. At the end every key is read once more.
Prints "verified N replies, K keys, C clients".
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
ap.add_argument('--keys', type=int, default=5000)
ap.add_argument('--clients', type=int, default=50)
ap.add_argument('--pipeline', type=int, default=16)
ap.add_argument('--seconds', type=float, default=3)
ap.add_argument('--max-value', type=int, default=20000)
ap.add_argument('--bgsave', action='store_true')
ap.add_argument('--stall', type=float, default=30)
ap.add_argument('--seed', type=int, default=int(time.time()))
o = ap.parse_args()
rnd = random.Random(o.seed)
noise = rnd.randbytes(1 << 20)
sel = selectors.DefaultSelector()


def command(*args):
    out = [b'*%d\r\n' % len(args)]
    for a in args:
        out.append(b'$%d\r\n%s\r\n' % (len(a), a))
    return b''.join(out)


def parse(buf, at):
    """One reply at buf[at:]: (value, next), or None when it is not complete."""
    end = buf.find(b'\r\n', at)
    if end < 0:
        return None
    kind, line = buf[at:at + 1], bytes(buf[at + 1:end])
    if kind in (b'+', b'-', b':'):
        return (kind + line, end + 2)
    if kind == b'$':
        n = int(line)
        if n < 0:
            return (None, end + 2)
        if len(buf) < end + 2 + n + 2:
            return None
        if buf[end + 2 + n:end + 4 + n] != b'\r\n':
            raise SystemExit('a bulk reply does not end where it says')
        return (bytes(buf[end + 2:end + 2 + n]), end + 4 + n)
    raise SystemExit(f'reply begins with {kind!r}')


def value():
    n = rnd.choice((rnd.randrange(0, 64), rnd.randrange(0, 2000), rnd.randrange(0, o.max_value + 1)))
    at = rnd.randrange(len(noise) - n)
    return noise[at:at + n]


class Client:
    def __init__(self, i):
        self.i = i
        self.s = socket.socket()
        self.s.setblocking(False)
        self.s.connect_ex((o.addr, o.port))
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.keys = range(i, o.keys, o.clients) if i < o.keys else range(i, i + 1)
        self.model, self.expect, self.out, self.buf = {}, [], b'', bytearray()
        self.replies, self.final, self.want_write = 0, None, True
        sel.register(self.s, selectors.EVENT_READ | selectors.EVENT_WRITE, self)

    def more(self, stop):
        """Fills the pipeline."""
        while len(self.expect) < o.pipeline:
            if stop:
                if self.final is None:
                    self.final = iter(list(self.model))
                k = next(self.final, None)
                if k is None:
                    return
                self.out += command(b'GET', b'key:%d' % k)
                self.expect.append(self.model[k])
                continue
            k = rnd.choice(self.keys)
            if rnd.random() < 0.4:
                v = value()
                self.model[k] = v
                self.out += command(b'SET', b'key:%d' % k, v)
                self.expect.append(b'+OK')
            else:
                self.out += command(b'GET', b'key:%d' % k)
                self.expect.append(self.model.get(k))

    def finished(self):
        return self.final is not None and not self.expect and not self.out

    def write(self):
        if self.out:
            try:
                n = self.s.send(self.out)
                self.out = self.out[n:]
            except BlockingIOError:
                pass
        if bool(self.out) != self.want_write:
            self.want_write = bool(self.out)
            sel.modify(self.s, selectors.EVENT_READ | (selectors.EVENT_WRITE if self.out else 0), self)

    def read(self):
        try:
            d = self.s.recv(262144)
        except BlockingIOError:
            return
        if not d:
            raise SystemExit(f'client {self.i}: the server closed with {len(self.expect)} replies due')
        self.buf += d
        at = 0
        while self.expect:
            r = parse(self.buf, at)
            if r is None:
                break
            got, at = r
            want = self.expect.pop(0)
            if got != want:
                raise SystemExit(f'client {self.i} reply {self.replies}: {str(got)[:80]} where {str(want)[:80]} was due '
                                 f'(seed {o.seed})')
            self.replies += 1
        del self.buf[:at]
        if not self.expect and self.buf:
            raise SystemExit(f'client {self.i}: {len(self.buf)} bytes that nobody asked for')


def ask(*args):
    s = socket.create_connection((o.addr, o.port), timeout=20)
    s.sendall(command(*args))
    buf = bytearray()
    while True:
        r = parse(buf, 0)
        if r:
            s.close()
            return r[0]
        d = s.recv(65536)
        if not d:
            raise SystemExit(f'{args}: closed without an answer')
        buf += d


got = ask(b'FLUSHALL')
if got != b'+OK':
    raise SystemExit(f'FLUSHALL: {got}')
clients = [Client(i) for i in range(o.clients)]
begin = last = time.monotonic()
saves = 0
next_save = begin + min(0.5, o.seconds / 4)
left = set(clients)
while left:
    now = time.monotonic()
    stop = now - begin > o.seconds
    if o.bgsave and not stop and now > next_save:
        r = ask(b'BGSAVE')
        if r.startswith(b'+Background saving'):
            saves += 1
        elif b'already in progress' not in r:
            raise SystemExit(f'BGSAVE: {r}')
        next_save = now + 0.5
    events = sel.select(1)
    if events:
        last = now
    elif now - last > o.stall:
        raise SystemExit(f'nothing moved for {o.stall} s: {len(left)} clients wait, for instance client '
                         f'{next(iter(left)).i} for {len(next(iter(left)).expect)} replies')
    for key, ev in events:
        c = key.data
        if ev & selectors.EVENT_READ:
            c.read()
        if c in left:
            c.more(stop)
            c.write()
            if c.finished():
                left.discard(c)
                sel.unregister(c.s)
                c.s.close()
    if stop and events == []:
        for c in list(left):
            c.more(True)
            c.write()
            if c.finished():
                left.discard(c)
                sel.unregister(c.s)
                c.s.close()
if o.bgsave:
    end = time.monotonic() + 30
    while b'rdb_bgsave_in_progress:0' not in ask(b'INFO', b'persistence'):
        if time.monotonic() > end:
            raise SystemExit('BGSAVE does not end')
        time.sleep(0.1)
    info = ask(b'INFO', b'persistence')
    if b'rdb_last_bgsave_status:ok' not in info or not saves:
        raise SystemExit(f'BGSAVE: {saves} begun, status: {info[:400]}')
n = int(ask(b'DBSIZE')[1:])
if n != sum(len(c.model) for c in clients):
    raise SystemExit(f'DBSIZE {n}, {sum(len(c.model) for c in clients)} keys were set')
print(f'verified {sum(c.replies for c in clients)} replies, {n} keys, {o.clients} clients, {saves} saves', flush=True)
