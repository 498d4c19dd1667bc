#!/usr/bin/env python3
"""make_corpus.py - writes the seed inputs of fuzz_net_frames and fuzz_net_fragments into ../corpus/ (they are committed)."""
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
OWN, PEER = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 77])
HOST_MAC, PEER_MAC, ALL = bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 1, 1]), b'\xff' * 6


def put(target, name, data):
    d = os.path.join(HERE, '..', 'corpus', target)
    os.makedirs(d, exist_ok=True)
    with open(os.path.join(d, name), 'wb') as f:
        f.write(data)


def rec(kind, data=b''):
    return struct.pack('<BH', kind, len(data)) + data


def eth(typ, body, dst=HOST_MAC, src=PEER_MAC, tag=None):
    t = struct.pack('>HH', 0x8100, tag) if tag is not None else b''
    return dst + src + t + struct.pack('>H', typ) + body


def ip(proto, body, src=PEER, dst=OWN, opts=b'', frag=0, ident=1, total=None, ver=4, tos=0, ttl=64):
    hl = 20 + len(opts)
    total = hl + len(body) if total is None else total
    return struct.pack('>BBHHHBBH', ver << 4 | hl // 4, tos, total, ident, frag, ttl, proto, 0) + src + dst + opts + body


def udp(sport, dport, body, length=None):
    return struct.pack('>HHHH', sport, dport, 8 + len(body) if length is None else length, 0xffff) + body


def icmp(typ, code, body, rest=0):
    return struct.pack('>BBHI', typ, code, 0, rest) + body


def arp(op, sha, spa, tpa, tha=HOST_MAC):
    return eth(0x806, struct.pack('>HHBBH', 1, 0x800, 6, 4, op) + sha + spa + tha + tpa + bytes(18),
               ALL if op == 1 else HOST_MAC, sha)


def ip4(*a, **k):
    return eth(0x800, ip(*a, **k))


F = 'net_frames'
ask = rec(7 + 12, struct.pack('<HB', 10, 0))  # a datagram of ours to PEER
answer = rec(0, arp(2, PEER_MAC, PEER, OWN))
pause = lambda s: rec(5, struct.pack('<H', min(65535, int(s * 50))))
put(F, 'arp_life', ask + answer + pause(40) + ask + pause(6) + answer + pause(50) + ask + pause(20) + ask)
put(F, 'arp_fail', ask + pause(5) + ask + pause(70))
put(F, 'arp_request', rec(0, arp(1, PEER_MAC, PEER, OWN)) + rec(0, arp(1, PEER_MAC, bytes(4), OWN)) + ask + rec(0, arp(1, PEER_MAC, PEER, PEER)) +
    rec(0, arp(1, HOST_MAC, OWN, OWN)))
put(F, 'arp_moved', ask + answer + rec(0, arp(2, bytes([2, 0, 0, 0, 9, 9]), PEER, PEER)) + rec(0, arp(2, bytes([2, 0, 0, 0, 9, 9]), PEER, OWN)) + ask)
put(F, 'arp_conflict', rec(11) + rec(0, arp(1, PEER_MAC, OWN, PEER)) + pause(1) + rec(0, arp(2, PEER_MAC, OWN, PEER)) + pause(15) +
    rec(0, arp(2, PEER_MAC, OWN, PEER)) + pause(1))
put(F, 'echo', ask + answer + rec(1, ip4(1, icmp(8, 0, b'abcdefgh' * 5))) + rec(2 + 24, ip4(1, icmp(8, 0, b'x' * 99))) + pause(0))
put(F, 'echo_zero', ask + answer + rec(1, ip4(1, icmp(8, 0, b''))) + pause(0))
quote = ip(6, b'\x30\x39\x00\x50' + bytes(4), src=OWN, dst=PEER)
uquote = ip(17, struct.pack('>HHHH', 1000, 5, 8, 0), src=OWN, dst=PEER)
cquote = ip(17, struct.pack('>HHHH', 1001, 5, 8, 0), src=OWN, dst=PEER)
put(F, 'icmp_errors', b''.join(rec(1, ip4(1, icmp(t, c, q, rest))) for t, c, rest in
                               [(3, 0, 0), (3, 1, 0), (3, 3, 0), (3, 4, 1280), (3, 4, 0), (3, 13, 0), (3, 99, 0), (11, 0, 0), (12, 0, 0)]
                               for q in (quote, uquote, cquote)))
put(F, 'icmp_other', b''.join(rec(1, ip4(1, icmp(t, 0, bytes(12)))) for t in (0, 4, 5, 13, 14, 17, 18, 40)) +
    rec(1, ip4(1, b'\x08\x00')) + rec(0, ip4(1, icmp(8, 0, b'bad'))))
put(F, 'udp', rec(1, ip4(17, udp(5, 1000, b'hello'))) + rec(1, ip4(17, udp(5, 1001, b'c'))) + rec(1, ip4(17, udp(6, 1001, b'n'))) +
    rec(1, ip4(17, udp(5, 7, b'nobody'))) + rec(3, ip4(17, udp(5, 1000, b'flags'))) + rec(1, ip4(17, udp(5, 1000, b'short', 7))) +
    rec(1, ip4(17, udp(5, 1000, b'long', 70))) + rec(1, ip4(17, udp(5, 1000, b'cut', 9))) + rec(1, ip4(17, b'1234')))
put(F, 'udp_group', rec(8 + 12) + rec(1, eth(0x800, ip(17, udp(5, 1000, b'm'), dst=bytes([239, 1, 1, 1])), bytes([1, 0, 0x5e, 1, 1, 1]))) +
    rec(1, eth(0x800, ip(17, udp(5, 1000, b'b'), dst=b'\xff' * 4), ALL)) + rec(1, eth(0x800, ip(17, udp(5, 9, b'b'), dst=b'\xff' * 4), ALL)) +
    rec(9 + 12) + rec(1, eth(0x800, ip(6, bytes(20), dst=b'\xff' * 4), ALL)) + rec(1, eth(0x800, ip(17, udp(1, 1000, b'u')), ALL)))
put(F, 'vlan', rec(10 + 12) + rec(1, eth(0x800, ip(6, bytes(20)), tag=5)) + rec(1, eth(0x800, ip(6, bytes(20)), tag=6)) + rec(1, ip4(6, bytes(20))) + ask +
    rec(4, eth(0x800, ip(6, bytes(20)), dst=b'\x02\0\0\0\0\x01')) + rec(0, eth(0x806, b'', tag=5)[:16]) + rec(10) + rec(1, eth(0x800, ip(6, bytes(20)), tag=0)))
put(F, 'eth_bad', rec(0, b'short') + rec(0, eth(0x86dd, bytes(40))) + rec(0, eth(0x800, bytes(20), src=ALL)) + rec(0, eth(0x800, bytes(20), src=bytes(6))) +
    rec(0, eth(0x800, bytes(20), dst=bytes([2, 0, 0, 0, 0, 9]))) + rec(2, eth(0x800, b'x')) + rec(0, eth(0x806, bytes(10))))
put(F, 'ip_options', b''.join(rec(1, ip4(6, bytes(20), opts=o)) for o in
                              (b'\x01\x01\x01\x00', b'\x07\x04\x04\x00', b'\x83\x04\x04\x00', b'\x07\x00\x00\x00', b'\x07\x09\x00\x00', b'\x01\x01\x01\x07')))
put(F, 'ip_bad', rec(1, ip4(6, bytes(20), ver=6)) + rec(1, ip4(6, bytes(20), total=19)) + rec(1, ip4(6, bytes(20), total=99)) + rec(0, ip4(6, bytes(20))) +
    b''.join(rec(1, ip4(6, bytes(20), src=bytes(s))) for s in ([0, 0, 0, 1], [127, 0, 0, 1], [224, 0, 0, 1], [255] * 4, [10, 0, 0, 1], [10, 0, 0, 255])) +
    rec(1, ip4(99, bytes(20))) + rec(1, ip4(6, bytes(20), dst=bytes([10, 0, 0, 9]))) + rec(1, ip4(6, bytes(20)) + bytes(26)) + rec(0, eth(0x800, b'\x4f' + bytes(30))) +
    rec(0, eth(0x800, b'\x44' + bytes(30))) + rec(0, eth(0x800, bytes(5))))
put(F, 'fragments', ask + answer + rec(1, ip4(17, udp(5, 1000, b'x' * 8, 24), frag=0x2000)) + rec(1, ip4(17, bytes(8), frag=2)) +
    rec(1, ip4(1, icmp(8, 0, b'y' * 40), frag=0x2000, ident=2)) + pause(31) + rec(1, ip4(6, bytes(16), frag=0x2000, ident=3)) + rec(1, ip4(6, bytes(16), frag=1, ident=3)))
put(F, 'igmp', rec(8 + 12) + pause(2) + b''.join(rec(1, eth(0x800, ip(2, struct.pack('>BBH', 0x11, c, s) + g + extra, dst=g if g != bytes(4) else b'\xe0\0\0\1', ttl=1),
    bytes([1, 0, 0x5e, 0, 0, 1])) ) + pause(11) for c, s, g, extra in
    [(100, 0xee9b, bytes(4), b''), (0, 0xeeff, bytes(4), b''), (0x90, 0xee6f, bytes(4), bytes(4)), (10, 0x0101, b'\xef\1\1\1', bytes(4)), (1, 1, bytes(4), b'')]) +
    rec(9 + 12) + pause(2))
put(F, 'igmp_bad', rec(0, ip4(2, bytes(7))) + rec(0, ip4(2, bytes([0x11, 1, 9, 9, 0, 0, 0, 0]))) + rec(1, ip4(2, bytes([0x22]) + bytes(7))) + rec(8 + 12) +
    rec(1, eth(0x800, ip(2, bytes([0x11, 100]) + bytes(6), dst=b'\xe0\0\0\1', ttl=1), bytes([1, 0, 0x5e, 0, 0, 1]))) + rec(9 + 12) + pause(2))
put(F, 'send', rec(6 + 12, struct.pack('<HB', 900, 0)) + ask + answer + rec(7 + 12, struct.pack('<HB', 65507, 200)) + rec(7, struct.pack('<HB', 9, 0)) +
    rec(6, struct.pack('<HB', 9, 0)) + pause(0))

F = 'net_fragments'


def frag(d, off, length, more=True, kind=0):
    return struct.pack('<BHH', d | (4 if more else 0) | kind, off // 8, length)


put(F, 'two', frag(0, 0, 1480) + frag(0, 1480, 99, False))
put(F, 'backwards', frag(1, 1480, 99, False) + frag(1, 0, 1480))
put(F, 'whole', frag(1, 0, 50, False))
put(F, 'duplicate', frag(0, 0, 800) + frag(0, 0, 800) + frag(0, 800, 5, False) + frag(0, 800, 5, False))
put(F, 'overlap', frag(0, 0, 800) + frag(0, 400, 800) + frag(0, 800, 8, False) + b'\xff\x0a' + frag(0, 0, 800) + frag(0, 800, 8, False))
put(F, 'two_ends', frag(0, 800, 8, False) + frag(0, 1600, 8, False) + frag(1, 800, 8, False) + frag(1, 1600, 8) + frag(2, 1600, 8) + frag(2, 800, 8, False))
put(F, 'illegal', frag(0, 0, 7) + frag(0, 0, 0) + frag(0, 65504, 1480, False) + frag(0, 65528, 8))
put(F, 'timeout', frag(0, 0, 1480) + b'\xff\xff' + frag(1, 1480, 8) + b'\xff\xff')
put(F, 'flat', struct.pack('<BHH', 0x44, 0, 64 * 200) + struct.pack('<BHH', 0x00, 200, 3))
put(F, 'flat_duplicates', struct.pack('<BHH', 0x44, 0, 64 * 200) + frag(0, 80, 8) + frag(0, 80, 16) + b'\xff\x0a')
put(F, 'flat_timeout', struct.pack('<BHH', 0x44, 0, 64 * 100) + b'\xff\xff')
put(F, 'flat_holes', struct.pack('<BHH', 0x45, 300, 64 * 100) + struct.pack('<BHH', 0x45, 0, 64 * 250) + struct.pack('<BHH', 0x45, 251, 64 * 48) +
    struct.pack('<BHH', 0x41, 401, 64 * 0))
put(F, 'ecn', frag(0, 0, 8, True, 0x10) + frag(0, 8, 8, False, 0x18) + frag(1, 0, 8, True, 0) + frag(1, 8, 8, False, 0x18))
put(F, 'options', frag(0, 0, 1480, True, 32) + frag(0, 1480, 8, False))
put(F, 'largest', b''.join(frag(3, o, 8952, o + 8952 < 65472, 128) for o in range(0, 62664, 8952)) + frag(3, 62664, 2851, False))
put(F, 'too_long_with_options', frag(3, 0, 8000, True, 32) + b''.join(frag(3, o, 8000) for o in range(8000, 64000, 8000)) + frag(3, 64000, 1515, False))
put(F, 'memory', b''.join(struct.pack('<BHH', 0x44 | d, 0, 64 * 62) for d in range(4)) + frag(0, 520, 1480, True, 128) + frag(1, 520, 8) + frag(2, 8000, 8) +
    b''.join(struct.pack('<BHH', 0x44 | d, 100, 64 * 120) for d in range(4)))
