#!/usr/bin/dash
# Uses a shared folder as people do, and says how long each took in nanoseconds. Arguments: the file system's type, what
# to mount, its options, and the folder's path in it.
set -e
export PATH=/usr/bin:/bin HOME=/tmp
mkdir /mnt
# Commas part the words of the kernel command line that this came by.
options=$(IFS=";"; for option in $3; do printf "%s," "$option"; done)
mount -t "$1" -o "${options%,}" "$2" /mnt
cd "/mnt/$4"

measure() {
  name=$1
  shift
  echo 3 > /proc/sys/vm/drop_caches
  start=$(date +%s%N)
  "$@" > /tmp/out
  end=$(date +%s%N)
  echo "took $name $((end - start))"
}

status() {
  git -c safe.directory='*' -C repository status --porcelain
}

status
measure git-status status
mkdir tree
measure tar-x tar xf files.tar -C tree
measure rm-r rm -r tree
for mode in read write randread randwrite; do
  case $mode in rand*) size=4k ;; *) size=1M ;; esac
  line=$(fio --output-format=terse --terse-version=3 --name=$mode --rw=$mode --bs=$size --filename=big --direct=1 \
    --ioengine=psync --runtime=3 --time_based --gtod_reduce=1 --thread --size=64M)
  # fio(1), "TERSE OUTPUT" version 3: error; of reads and of writes, bandwidth in KiB/s and IOPS.
  IFS=';'
  set -- $line
  unset IFS
  echo "fio $mode $5 $7 $8 ${48} ${49}"
done
