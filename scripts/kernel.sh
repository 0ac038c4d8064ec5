#!/usr/bin/env bash
# Unpacks the distribution's kernel, for the virtual machine of the kernel tier, and prints the directory: it has
# boot/vmlinuz-* and lib/modules/*. Nothing is installed; the files lie in the user's cache, and stay there for the next
# run. OVS_ERSPAN_KERNEL_DIR names a directory to use instead, such as an older or newer kernel unpacked in the same way.
set -euo pipefail

if [ -n "${OVS_ERSPAN_KERNEL_DIR:-}" ]; then
  echo "$OVS_ERSPAN_KERNEL_DIR"
  exit 0
fi

cache=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/ovs-erspan/kernel
PATH=$PATH:/usr/sbin:/sbin

# The small kernel for virtual machines: Debian's, then Ubuntu's, whose modules are in a package of their own.
find_image() {
  image=
  for meta in linux-image-cloud-amd64 linux-image-virtual; do
    image=$(apt-cache depends "$meta" 2>/dev/null | awk '/Depends: linux-image-[0-9]/ {print $2; exit}')
    [ -z "$image" ] || break
  done
}
find_image
if [ -z "$image" ] && command -v apt-get >/dev/null 2>&1; then
  sudo=
  if [ "$(id -u)" -ne 0 ]; then sudo=sudo; fi
  $sudo apt-get update -qq >&2 || true
  find_image
fi
if [ -z "$image" ]; then
  # Without the package lists, what is in the cache is as good as any.
  last=$(find "$cache" -mindepth 1 -maxdepth 1 -name 'linux-image-*' 2>/dev/null | sort -V | tail -1)
  if [ -n "$last" ]; then echo "$last"; exit 0; fi
  echo "kernel: apt knows no kernel package for virtual machines; OVS_ERSPAN_KERNEL_DIR can name an unpacked one" >&2
  exit 1
fi

dir=$cache/$image
if [ ! -e "$dir/complete" ]; then
  echo "kernel: downloading $image (unpacked into the cache, not installed)" >&2
  rm -rf "$dir"
  mkdir -p "$dir/packages"
  packages=("$image")
  modules=${image/linux-image-/linux-modules-}
  if apt-cache show "$modules" >/dev/null 2>&1; then packages+=("$modules"); fi
  (cd "$dir/packages" && apt-get download -q "${packages[@]}" >/dev/null 2>&1) ||
    { echo "kernel: apt-get download ${packages[*]} failed (run apt-get update)" >&2; exit 1; }
  for p in "$dir"/packages/*.deb; do dpkg -x "$p" "$dir"; done
  rm -rf "$dir/packages"
  # Debian's packages have /lib, newer ones /usr/lib.
  if [ ! -e "$dir/lib" ]; then ln -s usr/lib "$dir/lib"; fi
  depmod -b "$dir" "${image#linux-image-}"
  touch "$dir/complete"
fi
echo "$dir"
