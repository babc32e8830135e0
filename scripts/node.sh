# Sourced with $root set; sets $node to a Node that is 24.12 or newer.
# The npm packages node-linux-* carry Node's own binary, so that a machine with an older Node needs nothing else.
node=$(command -v node || true)
if ! { [ -n "$node" ] && "$node" -e 'const [a, b] = process.versions.node.split("."); process.exit(+a > 24 || (+a === 24 && +b >= 12) ? 0 : 1)'; }; then
  for node in "$root"/node_modules/node-linux-*/bin/node; do [ -x "$node" ] && break; done
  if ! [ -x "$node" ]; then
    echo 'SETUP_NODE_MISSING: no Node 24.12 or newer on this machine. Run `npm start` or `npm test` once: both install it.' >&2
    exit 1
  fi
fi
