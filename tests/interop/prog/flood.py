#!/usr/bin/env python3
"""flood - SYNs from random addresses, or datagrams to a closed and an open port, as fast as asked.

usage: flood.py syn|udp ADDRESS PORT SECONDS RATE       prints "sent N"
"""
import os
import random
import socket
import struct
import sys
import time

what, addr, port, seconds, rate = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
dst = socket.inet_aton(addr)
rnd = random.Random(1)


def checksum(b):
    if len(b) % 2:
        b += b'\0'
    s = sum(struct.unpack(f'>{len(b) // 2}H', b))
    s = (s >> 16) + (s & 0xffff)
    return ~(s + (s >> 16)) & 0xffff


def packet():
    src = struct.pack('>I', 0xc6120000 | rnd.randrange(1, 0x1ffff))  # 198.18/15: set aside for such tests
    sport, to = rnd.randrange(1024, 65536), port
    if what == 'syn':
        body = struct.pack('>HHIIBBHHH', sport, port, rnd.getrandbits(32), 0, 0x60, 2, 64240, 0, 0) + b'\x02\x04\x05\xb4'
        at, proto = 16, 6
    else:
        to = rnd.choice((port, port + 1))
        body = struct.pack('>HHHH', sport, to, 8 + 100, 0) + bytes(100)
        at, proto = 6, 17
    s = checksum(src + dst + struct.pack('>BBH', 0, proto, len(body)) + body) or 0xffff
    body = body[:at] + struct.pack('>H', s) + body[at + 2:]
    return struct.pack('>BBHHHBBH4s4s', 0x45, 0, 20 + len(body), rnd.getrandbits(16), 0, 64, proto, 0, src, dst) + body


s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
pkts = [packet() for _ in range(20000)]
begin, n = time.monotonic(), 0
while True:
    t = time.monotonic() - begin
    if t >= seconds:
        break
    due = int(t * rate)
    if n >= due:
        time.sleep(0.0005)
        continue
    while n < due:
        try:
            s.sendto(pkts[n % len(pkts)], (addr, 0))
        except OSError:
            pass
        n += 1
        if n % 64 == 0 and time.monotonic() - begin >= seconds:
            break
print(f'sent {n}', flush=True)
