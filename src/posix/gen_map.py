#!/usr/bin/env python3
"""Writes the linker's version script from symbols.def: only the interposed libc names, their __wrap_ twins and gz_* leave the
library. Usage: gen_map.py symbols.def > liblstack.map; with --list: the names, one a line."""
import re
import sys


def names(path):
    text = re.sub(r'/\*.*?\*/', '', open(path, encoding='ascii').read(), flags=re.S)
    for kind, name in re.findall(r'\b(SYM|ALIAS)\((\w+)\)', text):
        yield name
        if kind == 'SYM':
            yield '__wrap_' + name


def main():
    found = list(names([a for a in sys.argv[1:] if a != '--list'][0]))
    if '--list' in sys.argv:
        print('\n'.join(found))
        return
    print('{\n\tglobal:')
    for n in found + ['gz_*']:
        print('\t\t%s;' % n)
    print('\tlocal:\n\t\t*;\n};')


main()
