/**
 * What is done as root before bubblewrap is started as the person, in a mount namespace of its own: the disk is shown
 * where the person can reach it, and nobody else. A child does it, not this process, which may be the one that serves the
 * disk.
 *
 * The disk is not trusted with root's eyes: nothing is followed that might be a link out of it.
 *
 *     sh -c SCRIPT sh ROOT FOLDER USER UID GID HOME NETWORK -- COMMAND…
 *
 * FOLDER is `disk`, `memory` or the directory that becomes the home. What follows is for bubblewrap.
 */
export const prepareScript = `
set -eu
root=$1 folder=$2 user=$3 uid=$4 gid=$5 home=$6 network=$7
shift 7
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /mnt
mkdir /mnt/root /mnt/home
mount --bind "$root" /mnt/root
case $folder in
  disk)
    top=/mnt/root\${home%/*}
    if [ -d "$top" ] && [ ! -L "$top" ] && [ ! -e "/mnt/root$home" ] && [ ! -L "/mnt/root$home" ]; then
      mkdir -m 0700 "/mnt/root$home" && chown "$uid:$gid" "/mnt/root$home"
    fi ;;
  memory) ;;
  *) mount --bind "$folder" /mnt/home ;;
esac
own() { [ -d /mnt/root/etc ] && [ ! -L /mnt/root/etc ] && [ -f "/mnt/root/etc/$1" ] && [ ! -L "/mnt/root/etc/$1" ]; }
if own passwd; then
  cat /mnt/root/etc/passwd >/mnt/passwd
  cut -d: -f3 /mnt/passwd | grep -qx "$uid" || echo "$user:x:$uid:$gid::$home:/bin/sh" >>/mnt/passwd
fi
if own group; then
  cat /mnt/root/etc/group >/mnt/group
  cut -d: -f3 /mnt/group | grep -qx "$gid" || echo "$user:x:$gid:" >>/mnt/group
fi
if [ "$network" = true ] && [ -e /etc/resolv.conf ]; then
  target=
  if own resolv.conf; then target=/etc/resolv.conf
  elif [ -L /mnt/root/etc/resolv.conf ]; then target=$(readlink /mnt/root/etc/resolv.conf); target=\${target#..}; fi
  case $target in
    */../*) ;;
    /etc/resolv.conf | /run/*) cat /etc/resolv.conf >/mnt/resolv.conf; set -- --ro-bind /mnt/resolv.conf "$target" "$@" ;;
  esac
fi
cd /
exec setpriv --reuid "$uid" --regid "$gid" --clear-groups --no-new-privs -- bwrap --args 3 "$@"
`
