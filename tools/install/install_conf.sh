#!/bin/sh
# Installs the example configuration, but never over one that is there. Called by meson: install_conf.sh SOURCE DIRECTORY
set -e
dir="$DESTDIR$2"
mkdir -p "$dir"
if [ -e "$dir/lstack.conf" ]; then
	install -m 0644 "$1" "$dir/lstack.conf.example"
	echo "kept $dir/lstack.conf; the new example is $dir/lstack.conf.example"
else
	install -m 0644 "$1" "$dir/lstack.conf"
fi
