#!/bin/sh
# A target that the CPU limits, not a disk: ext4 on zram with a file of zeros, which takes no memory
# and is served inline. It shows the engine's own cost for each request.
#
#   benches/zram.sh up DIR      mount it on DIR (made if absent), 2 GiB, with DIR/zeros of 1 GiB
#   benches/zram.sh down DIR    unmount and give the memory back
#
# Needs root and the kernel's zram device. Refuses a zram device that is in use.
set -eu

device=${ZRAM_DEVICE:-zram0}
usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -eq 2 ] || usage
dir=$2

case $1 in
up)
    [ -e "/sys/block/$device/disksize" ] || modprobe zram 2>/dev/null || true
    [ -e "/sys/block/$device/disksize" ] || { echo "no /dev/$device in this kernel" >&2; exit 1; }
    if [ "$(cat "/sys/block/$device/disksize")" != 0 ]; then
        echo "/dev/$device is in use: end that first, or set ZRAM_DEVICE" >&2
        exit 1
    fi
    echo 2G > "/sys/block/$device/disksize"
    mkdir -p "$dir"
    if ! { mkfs.ext4 -q -E nodiscard "/dev/$device" && mount "/dev/$device" "$dir"; }; then
        echo 1 > "/sys/block/$device/reset"
        exit 1
    fi
    dd if=/dev/zero of="$dir/zeros" bs=1M count=1024 oflag=direct status=none
    sync
    echo "$dir/zeros"
    ;;
down)
    mountpoint -q "$dir" && umount "$dir"
    echo 1 > "/sys/block/$device/reset"
    ;;
*) usage ;;
esac
