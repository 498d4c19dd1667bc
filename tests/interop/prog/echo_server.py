#!/usr/bin/env python3
"""echo_server - echoes every byte, closes when the peer has finished: by threads, select, poll, epoll or asyncio.

usage: echo_server.py KIND PORT [ADDRESS]      KIND: threads select poll epoll epolledge asyncio forking
Prints "listening" when ready. Ends on SIGTERM. ECHO_KEEPALIVE=1: connections that say nothing for two seconds are probed. ECHO_FASTOPEN=1: TCP_FASTOPEN.
"""
import asyncio
import errno
import os
import select
import signal
import socket
import sys
import threading

kind, port = sys.argv[1], int(sys.argv[2])
addr = sys.argv[3] if len(sys.argv) > 3 else '0.0.0.0'


def listener(blocking):
    family = socket.AF_INET6 if ':' in addr else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if os.environ.get('ECHO_KEEPALIVE'):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for opt, value in ((socket.TCP_KEEPIDLE, 2), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 5)):
            s.setsockopt(socket.IPPROTO_TCP, opt, value)
    if os.environ.get('ECHO_FASTOPEN'):
        s.setsockopt(socket.IPPROTO_TCP, 23, 64)
    s.bind((addr, port))
    s.listen(4096)
    s.setblocking(blocking)
    return s


def ready():
    print('listening', flush=True)


def serve_one(c):
    with c:
        while True:
            try:
                data = c.recv(65536)
                if not data:
                    return
                c.sendall(data)
            except ConnectionError:
                return


def threads():
    s = listener(True)
    ready()
    while True:
        c, _ = s.accept()
        threading.Thread(target=serve_one, args=(c,), daemon=True).start()


def forking():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    s = listener(True)
    ready()
    while True:
        c, _ = s.accept()
        if os.fork() == 0:
            s.close()
            serve_one(c)
            os._exit(0)
        c.close()


class Conn:
    def __init__(self, sock):
        self.sock, self.out, self.eof = sock, b'', False

    def step(self, edge=False):
        """Reads and writes what goes. False: finished."""
        try:
            while not self.eof and len(self.out) < 1 << 20:
                data = self.sock.recv(65536)
                if not data:
                    self.eof = True
                self.out += data
                if not edge:
                    break
        except BlockingIOError:
            pass
        except ConnectionError:
            return False
        try:
            while self.out:
                n = self.sock.send(self.out)
                self.out = self.out[n:]
        except BlockingIOError:
            pass
        except ConnectionError:
            return False
        return not self.eof or bool(self.out)


def accept_all(s, add):
    """Accepts until nothing is left; at the descriptor limit the rest waits in the backlog."""
    while True:
        try:
            c, _ = s.accept()
        except BlockingIOError:
            return True
        except OSError as e:
            if e.errno in (errno.EMFILE, errno.ENFILE):
                return False
            if e.errno == errno.ECONNABORTED:
                continue
            raise
        c.setblocking(False)
        add(c)


def by_select():
    s = listener(False)
    conns = {}
    ready()
    while True:
        r, w, _ = select.select([s, *[f for f, c in conns.items() if not c.eof]],
                                [f for f, c in conns.items() if c.out], [])
        for f in set(r) | set(w):
            if f is s:
                accept_all(s, lambda c: conns.__setitem__(c, Conn(c)))
            elif not conns[f].step():
                del conns[f]
                f.close()


def by_poll():
    s = listener(False)
    p = select.poll()
    p.register(s, select.POLLIN)
    conns = {}

    def add(c):
        conns[c.fileno()] = Conn(c)
        p.register(c, select.POLLIN)
    ready()
    while True:
        for fd, ev in p.poll():
            if fd == s.fileno():
                accept_all(s, add)
                continue
            c = conns[fd]
            if c.step():
                p.modify(fd, (0 if c.eof else select.POLLIN) | (select.POLLOUT if c.out else 0))
            else:
                p.unregister(fd)
                del conns[fd]
                c.sock.close()


def by_epoll(edge):
    s = listener(False)
    ep = select.epoll()
    ep.register(s, select.EPOLLIN)
    conns, full = {}, [False]

    def add(c):
        conns[c.fileno()] = Conn(c)
        ep.register(c, (select.EPOLLIN | select.EPOLLOUT | select.EPOLLET) if edge else select.EPOLLIN)

    def accept():
        ok = accept_all(s, add)
        if not ok and not full[0]:
            full[0] = True
            print(f'full at {len(conns)}', flush=True)
            ep.modify(s, 0)
    ready()
    while True:
        for fd, ev in ep.poll():
            if fd == s.fileno():
                accept()
                continue
            c = conns.get(fd)
            if c is None:
                continue
            if c.step(edge):
                if not edge:
                    ep.modify(fd, (0 if c.eof else select.EPOLLIN) | (select.EPOLLOUT if c.out else 0))
            else:
                ep.unregister(fd)
                del conns[fd]
                c.sock.close()
                if full[0]:
                    full[0] = False
                    ep.modify(s, select.EPOLLIN)


async def by_asyncio():
    async def one(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()
    server = await asyncio.start_server(one, sock=listener(False), backlog=4096)
    ready()
    async with server:
        await server.serve_forever()


if kind == 'threads':
    threads()
elif kind == 'forking':
    forking()
elif kind == 'select':
    by_select()
elif kind == 'poll':
    by_poll()
elif kind == 'epoll':
    by_epoll(False)
elif kind == 'epolledge':
    by_epoll(True)
elif kind == 'asyncio':
    asyncio.run(by_asyncio())
else:
    sys.exit(__doc__)
