#!/usr/bin/env python3
"""half_deaf - one process: PORT echoes; PORT+1 takes connections and never reads them; on PORT+2 datagrams pile up unread.

usage: half_deaf.py PORT ADDRESS       prints "listening" when ready
"""
import select
import socket
import sys

port, addr = int(sys.argv[1]), sys.argv[2]


def listener(n):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((addr, n))
    s.listen(1024)
    s.setblocking(False)
    return s


echo, deaf = listener(port), listener(port + 1)
pile = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
pile.bind((addr, port + 2))
ep = select.epoll()
ep.register(echo, select.EPOLLIN)
ep.register(deaf, select.EPOLLIN)
conns, kept, out = {}, [], {}
print('listening', flush=True)
while True:
    for fd, ev in ep.poll():
        if fd in (echo.fileno(), deaf.fileno()):
            c, _ = (echo if fd == echo.fileno() else deaf).accept()
            c.setblocking(False)
            if fd == deaf.fileno():
                kept.append(c)
                continue
            conns[c.fileno()], out[c.fileno()] = c, b''
            ep.register(c, select.EPOLLIN)
            continue
        c = conns[fd]
        try:
            if not out[fd]:
                out[fd] = c.recv(262144)
                if not out[fd]:
                    raise ConnectionError
            out[fd] = out[fd][c.send(out[fd]):]
            ep.modify(fd, select.EPOLLOUT if out[fd] else select.EPOLLIN)
        except BlockingIOError:
            ep.modify(fd, select.EPOLLOUT if out[fd] else select.EPOLLIN)
        except ConnectionError:
            ep.unregister(fd)
            del conns[fd], out[fd]
            c.close()
