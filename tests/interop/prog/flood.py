#!/usr/bin/env python3
"""flood - SYNs from everywhere, or datagrams to a closed and an open port, at a given rate.

usage: flood.py syn|udp INTERFACE MAC ADDRESS PORT SECONDS RATE       prints "sent N, cpu S"

Frames are made beforehand and handed to the interface in batches (packet socket, sendmmsg): the same work for the sender whoever they are
for. Datagrams go to PORT and PORT + 1.
"""
import ctypes
import os
import random
import socket
import struct
import sys
import time

what, dev, mac, addr = sys.argv[1:5]
port, seconds, rate = int(sys.argv[5]), float(sys.argv[6]), int(sys.argv[7])
FRAMES, BATCH = 8192, 32
rnd = random.Random(1)
dst = socket.inet_aton(addr)


def checksum(b):
    if len(b) % 2:
        b += b'\0'
    s = sum(struct.unpack(f'>{len(b) // 2}H', b))
    s = (s >> 16) + (s & 0xffff)
    return ~(s + (s >> 16)) & 0xffff


def frame(link):
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
    ip = struct.pack('>BBHHHBBH4s4s', 0x45, 0, 20 + len(body), rnd.getrandbits(16), 0, 64, proto, 0, src, dst)
    return link + ip[:10] + struct.pack('>H', checksum(ip)) + ip[12:] + body


class Iovec(ctypes.Structure):
    _fields_ = [('base', ctypes.c_char_p), ('len', ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    _fields_ = [('name', ctypes.c_void_p), ('namelen', ctypes.c_uint), ('iov', ctypes.POINTER(Iovec)), ('iovlen', ctypes.c_size_t),
                ('control', ctypes.c_void_p), ('controllen', ctypes.c_size_t), ('flags', ctypes.c_int)]


class Mmsghdr(ctypes.Structure):
    _fields_ = [('hdr', Msghdr), ('len', ctypes.c_uint)]


libc = ctypes.CDLL(None, use_errno=True)
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind((dev, 0))
link = bytes.fromhex(mac.replace(':', '')) + s.getsockname()[4] + b'\x08\x00'
frames = [frame(link) for _ in range(FRAMES)]
iov = (Iovec * FRAMES)(*[Iovec(f, len(f)) for f in frames])
msgs = (Mmsghdr * FRAMES)()
for i in range(FRAMES):
    msgs[i].hdr.iov, msgs[i].hdr.iovlen = ctypes.pointer(iov[i]), 1
print('ready', flush=True)
begin, n, cpu = time.monotonic(), 0, time.process_time()
while (t := time.monotonic() - begin) < seconds:
    if n + BATCH > t * rate:
        time.sleep(0.0003)
        continue
    got = libc.sendmmsg(s.fileno(), ctypes.byref(msgs[n % FRAMES]), BATCH, 0)
    n += got if got > 0 else 0
    if got != BATCH:
        n += BATCH - n % BATCH  # what the queueing discipline refused is not sent again
print(f'sent {n}, cpu {time.process_time() - cpu:.2f}', flush=True)
