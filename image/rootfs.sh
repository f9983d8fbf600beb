#!/bin/sh
# rootfs.sh ROOT PACKAGE…: the files of Debian's packages and of what they depend on, without running anything of theirs, so
# that neither a shell nor dpkg has to be there. What is in it stands in var/lib/dpkg/status.d, where scanners look.
set -eu
export LC_ALL=C
root=$1
shift

# Seen from a machine on which nothing is installed, so that apt brings everything; it knows what a name is called in its suite.
debs=/tmp/debs
mkdir -p $debs/partial
: >/tmp/status
apt-get update -qq
apt-get install -qq --download-only --no-install-recommends -o Dir::State::status=/tmp/status -o Dir::Cache::archives=$debs \
  -o pkgCacheGen::ForceEssential=, "$@"
# Of these some files only, and none of what they depend on.
(cd $debs && apt-get download -qq base-files ca-certificates coreutils util-linux)

mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/var/lib/dpkg/status.d"
for link in /bin /sbin /lib*; do
  mkdir -p "$root/$(readlink "$link")"
  cp -P "$link" "$root"
done
for deb in $debs/*.deb; do
  package=$(dpkg-deb --field "$deb" Package)
  case $package in
    coreutils) set -- ./usr/bin/env ./usr/share/doc/coreutils/copyright ;;
    util-linux) set -- ./usr/bin/setpriv ./usr/share/doc/util-linux/copyright ;;
    *) set -- . ;;
  esac
  dpkg-deb --fsys-tarfile "$deb" | tar --extract --directory "$root" --keep-directory-symlink "$@"
  dpkg-deb --field "$deb" >"$root/var/lib/dpkg/status.d/$package"
done
cd "$root"

# What the packages do as they are installed, as far as it matters here.
cat usr/share/ca-certificates/mozilla/*.crt >etc/ssl/certs/ca-certificates.crt
for tool in usr/sbin/ip*tables-nft*; do ln -s "${tool##*/}" "$(echo "$tool" | sed s/-nft//)"; done
printf '%s\n' 'root:x:0:0:root:/root:/usr/sbin/nologin' 'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin' >etc/passwd
printf '%s\n' 'root:x:0:' 'nogroup:x:65534:' >etc/group
printf '%s\n' 'passwd: files' 'group: files' 'hosts: files dns' >etc/nsswitch.conf

# Nobody reads a manual here. Licences stay.
rm -rf usr/share/man usr/share/info usr/share/locale usr/share/lintian usr/share/bash-completion usr/share/bug usr/share/ca-certificates
find usr/share/doc -type f ! -name copyright -delete
# Character sets that nothing here converts.
rm -rf usr/lib/*/gconv
# Scripts of a shell that is not here, and what pointed to what has gone.
grep -rlE --null '^#! ?/bin/(ba|da)?sh' usr etc | xargs -0r rm
find . -xtype l ! -path './proc/*' -delete
find . -depth -type d -empty -path './usr/*' -delete
