# Sourced by the benchmarks: warm_memory FILE fills what memory is free with pages of that file.
#
# The host of a virtual machine takes free memory back. The next touch of such a page then costs some two
# microseconds, in whichever process it happens: more than all else that a broker does for a message that is
# written there, and it depends on what ran before. The page cache of a machine that has served for a while is
# full, and so it is here: pages are taken from the file, in the order in which it was written.
# FILE grows to the size of the memory at most.
mib_of() { awk -v field="$1:" '$1 == field {print int($2 / 1024)}' /proc/meminfo; }   # mib_of FIELD
memory_at=0   # where the file is written next, MiB
warm_memory() {
  local file="$1" pass total free part
  total="$(mib_of MemTotal)"
  if [ ! -e "$file" ] && [ "$(df -Pm "$(dirname "$file")" | awk 'END {print $4}')" -lt $((total * 2)) ]; then
    echo "memory is not warmed: the disk has no room for that" >&2
    return 0
  fi
  for pass in 1 2 3; do # pages that were still there leave as much memory free as before
    free=$(($(mib_of MemFree) - 512))
    [ "$free" -gt 512 ] || break
    while [ "$free" -gt 0 ]; do
      part=$((total - memory_at < free ? total - memory_at : free))
      dd if=/dev/zero of="$file" bs=1M seek="$memory_at" count="$part" conv=notrunc status=none
      memory_at=$(((memory_at + part) % total)); free=$((free - part))
    done
    sync "$file"
  done
  # Where the host takes pages faster than they are written, this has no end: who reads the figures has to know.
  free="$(mib_of MemFree)"
  [ "$free" -le $((total / 8)) ] || echo "memory is not warm: $free of $total MiB are free" >&2
}
