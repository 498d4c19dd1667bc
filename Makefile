# The words people expect; meson does the building, devtools/ the rest. `make help` lists them.
#
# Variables: BUILD (build directory, default build), prefix (/usr), libdir, DESTDIR, CC.

BUILD ?= build
prefix ?= /usr
sysconfdir ?= /etc
libdir ?=

.PHONY: all help demo check bench fuzz install lint clean

all:
	@devtools/setup build
	@devtools/build $(BUILD) -Dtests=false -Dbench=false

help:
	@echo 'make            build liblstack.so and gazellectl in $(BUILD)/'
	@echo 'make demo       Redis on this stack and on the kernel, side by side, in two namespaces (root)'
	@echo 'make check      all tests; last line: N passed, N failed'
	@echo 'make bench      all benchmarks; ONLY="a b c d" selects'
	@echo 'make fuzz       fuzzes every parser, FUZZ_SECONDS=60 each, and reports the lines reached'
	@echo 'make lint       layering, exported symbols, headers, references'
	@echo 'make install    DESTDIR=, prefix=/usr, libdir='
	@echo 'make clean      removes the build directories'

demo:
	@devtools/setup demo
	@devtools/build $(BUILD)-release --buildtype=release -Dtests=false -Dbench=false
	@demo/demo --build $(BUILD)-release

check:
	@devtools/setup check
	@devtools/check --build $(BUILD)

bench:
	@devtools/setup bench
	@devtools/build $(BUILD)-release --buildtype=release -Dtests=false -Dbench=true
	@bench/run --build $(BUILD)-release $(ONLY)

fuzz:
	@devtools/setup fuzz
	@devtools/fuzz --seconds $(or $(FUZZ_SECONDS),60) --coverage

lint:
	@devtools/setup check
	@devtools/build $(BUILD)
	@devtools/lint --build $(BUILD)

install:
	@devtools/setup build
	@devtools/build $(BUILD)-install --buildtype=release -Dtests=false -Dbench=false \
		--prefix=$(prefix) --sysconfdir=$(sysconfdir) $(if $(libdir),--libdir=$(libdir))
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD)-install --no-rebuild

clean:
	rm -rf $(BUILD) $(BUILD)-release $(BUILD)-release-profile $(BUILD)-install $(BUILD)-install-profile $(BUILD)-clang $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz
