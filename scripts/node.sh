# Sourced with $root set; sets $node to a Node that is 24.15 or newer: the binary that the npm packages node-linux-* carry,
# so that a machine with an older Node needs nothing else and no command waits to learn a version; else the machine's own.
# What was compiled once is not compiled again; beside the packages, where nobody but who installed them can write.
NODE_COMPILE_CACHE="$root/node_modules/.cache/compiled"
export NODE_COMPILE_CACHE
for node in "$root"/node_modules/node-linux-*/bin/node; do [ -x "$node" ] && break; done
if ! [ -x "$node" ]; then
  node=$(command -v node || true)
  if ! { [ -n "$node" ] && "$node" -e 'const [a, b] = process.versions.node.split("."); process.exit(+a > 24 || (+a === 24 && +b >= 15) ? 0 : 1)'; }; then
    echo 'SETUP_NODE_MISSING: no Node 24.15 or newer on this machine. Run `npm start` or `npm test` once: both install it.' >&2
    exit 1
  fi
fi
