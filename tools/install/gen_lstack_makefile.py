#!/usr/bin/env python3
"""Writes lstack.Makefile, which programs include to link with the library, from the list of interposed names.
Usage: gen_lstack_makefile.py symbols.def LIBDIR > lstack.Makefile"""
import re
import sys

text = re.sub(r'/\*.*?\*/', '', open(sys.argv[1], encoding='ascii').read(), flags=re.S)
names = re.findall(r'\bSYM\((\w+)\)', text)
libdir = sys.argv[2]

print('# For programs that link with Gazelle:   -include /etc/gazelle/lstack.Makefile')
print('#                                         gcc test.c -o test $(LSTACK_LIBS)')
print('# The library stands before libc, so its names are found first. With USE_GAZELLE=1 the calls are renamed as well (--wrap), as')
print('# programs of the original are linked; both ways work with the same library.')
print('LSTACK_DIR ?= ' + libdir)
print('LSTACK_WRAP = \\')
print(' \\\n'.join('\t-Wl,--wrap=' + n for n in names))
print('LSTACK_LIBS = -L$(LSTACK_DIR) -Wl,--push-state,--no-as-needed -llstack -Wl,--pop-state')
print('ifeq ($(USE_GAZELLE),1)')
print('LSTACK_LIBS += $(LSTACK_WRAP)')
print('endif')
