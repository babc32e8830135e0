# Sourced by start, test and bench with $root set: installs what is missing, and nothing when nothing is.
# Needs the machine's own Node and npm (Debian 12's will do) and, for Debian packages, root or sudo.

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# npm packages, when the lock file is another than the one they were installed by.
install_npm_packages() {
  wanted=$(sha256sum "$root/package-lock.json" | cut -d' ' -f1)
  if [ "$(cat "$root/node_modules/.installed-by" 2>/dev/null)" != "$wanted" ]; then
    echo 'Installing npm packages' >&2
    # Not `npm ci`: it refuses a lock file that lacks the tools' binaries for other systems than the one it was written on.
    # What the lock file names is installed as it names it, and the file stays as it is.
    (cd "$root" && npm install --no-save --no-audit --no-fund >&2)
    echo "$wanted" >"$root/node_modules/.installed-by"
  fi
}

# install_debian_packages NAME…: those that dpkg does not have.
install_debian_packages() {
  missing=
  for package; do
    case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in *' installed') ;; *) missing="$missing $package" ;; esac
  done
  if [ -n "$missing" ]; then
    echo "Installing Debian packages:$missing" >&2
    as_root apt-get update -qq
    # shellcheck disable=SC2086 # one word a package
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
  fi
}

# What sessions are made of, as the display adapter lists it.
session_packages() {
  "$root/scripts/run" node --disable-warning=ExperimentalWarning -e \
    "import('$root/adapters/display-xvnc/index.ts').then((m) => console.log(m.debianPackages.join('\n')))"
}

# The console, when any file it is built from has changed.
build_console() {
  stamp=$(cd "$root" && find apps/console core package-lock.json -type f -not -path '*/dist/*' -not -name '*.test.ts' -print0 |
    LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
  if [ "$(cat "$root/apps/console/dist/.built-from" 2>/dev/null)" != "$stamp" ]; then
    echo 'Building the console' >&2
    "$root/scripts/run" vite build --logLevel warn "$root/apps/console"
    echo "$stamp" >"$root/apps/console/dist/.built-from"
  fi
}
