#!/usr/bin/env python3
"""make_corpus.py - writes inputs of fuzz_ctl and fuzz_gazellectl about TCP_INFO of connections into ../corpus/ (they are committed)."""
import json
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))


def put(target, name, data):
    with open(os.path.join(HERE, '..', 'corpus', target, name), 'wb') as f:
        f.write(data)


def request(**members):
    return json.dumps(members, separators=(',', ':')).encode()


put('ctl', 'conns_info', request(cmd='conns', info=1))
put('ctl', 'conns_info_udp', request(cmd='conns', info=1, udp=1, stack=1))
put('ctl', 'conns_info_later', request(cmd='conns', info=1, cursor=2))


def asked(args, *answers):
    """Command line, then what the process answers: hello and the others."""
    hello = {'pid': 7, 'comm': 'x', 'unix_prefix': '', 'addr': '10.0.0.1', 'addr_len': 24, 'mode': 'm', 'running': True, 'stacks': 1, 'device': 'd'}
    out = bytes([len(args)]) + b''.join(a.encode() + b'\0' for a in args)
    for a in (hello, *answers):
        text = json.dumps({'ok': True, **a}, separators=(',', ':')).encode()
        out += struct.pack('>I', len(text)) + text
    return out


FIELDS = '''ato snd_mss pmtu rcv_mss advmss snd_cwnd bytes_sent bytes_retrans bytes_acked bytes_received segs_out segs_in data_segs_out
    data_segs_in delivered delivered_ce delivery_rate_app_limited unacked sacked lost retrans retransmits backoff probes total_rto
    total_rto_recoveries total_rto_time dsack_dups reord_seen rcv_rtt rcv_space rcv_ssthresh notsent_bytes rcv_ooopack snd_wnd rcv_wnd'''.split()


def row(info=None, **more):
    r = {'proto': 'tcp', 'stack': 0, 'fd': 3, 'state': 'ESTABLISHED', 'laddr': '10.0.0.1', 'lport': 80, 'raddr': '10.0.0.2', 'rport': 9}
    if info is not None:
        r.update(congestion='cubic', info={'tcpi_' + k: v for k, v in info.items()})
    return {**r, **more}


STATS = {'low_power': {'on': 0}, 'loglevel': 'info', 'stacks': [{'id': 0, 'tid': 5}]}
EXTENDED = ['lstack', 'show', '7', '-c', '-e']
every = dict({f: 1000 + i for i, f in enumerate(FIELDS)}, ca_state=3, options=0xff, snd_wscale=7, rcv_wscale=9, rto=201000, rtt=120, rttvar=60,
             snd_ssthresh=20, pacing_rate=12, max_pacing_rate=999999, delivery_rate=125000000, busy_time=5000, rwnd_limited=1000, sndbuf_limited=2000,
             total_retrans=4, reordering=4, min_rtt=40)
nothing = dict(options=8, ca_state=5, snd_ssthresh=0x7fffffff, pacing_rate=2**64 - 1, max_pacing_rate=2**64 - 1, reordering=3, min_rtt=2**32 - 1)
put('gazellectl', 'extended_every_field', asked(EXTENDED, STATS, {'conns': [row(every)]}))
put('gazellectl', 'extended_nothing_to_say', asked(EXTENDED, STATS, {'conns': [row(nothing), row({}), row()]}))
put('gazellectl', 'extended_rates', asked(EXTENDED, STATS, {'conns': [row(dict(nothing, pacing_rate=125 * 1000**n)) for n in range(6)]}))
put('gazellectl', 'extended_wrong_types', asked(EXTENDED, STATS, {'conns': [row(dict(every, rtt='x', ca_state=[], busy_time=-1)), row(info={}, congestion=5),
                                                                            {'info': 7}, 7, None]}))
put('gazellectl', 'extended_in_steps', asked(EXTENDED + ['port', '9'], STATS, {'conns': [row(every)], 'next': 1}, {'conns': [row(nothing, rport=8, lport=7)]}))
put('gazellectl', 'extended_answer_missing', asked(EXTENDED, STATS))
