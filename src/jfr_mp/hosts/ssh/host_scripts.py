"""The shell scripts that replace several round trips to a host by one."""

#: Makes a directory ($1) of a mode ($4), writes a file ($2) of so many bytes ($3) there and removes others ($5, ...).
DELIVER = r"""
mkdir -p -m "$4" -- "$1" && cd -- "$1" || exit
name=$2 size=$3 part=.$2.part
shift 4
rm -f -- "$part" "$@" || exit
cat > "$part" || { rm -f -- "$part"; exit 1; }
arrived=$(($(wc -c < "$part")))
test $arrived -eq $size || { rm -f -- "$part"; echo "jfr-mp: $arrived of $size bytes arrived" >&2; exit 1; }
exec mv -f -- "$part" "$name"
"""

#: Prints files ($3, ...) of a directory ($1): for each its size, or "-" if there is no such file, or "!" if it is not a
#: regular file, and, if it has at most so many bytes ($2), its content and a full stop.
FETCH = r"""
cd -- "$1" 2>/dev/null || { shift 2; for name; do echo -; done; exit; }
limit=$2
shift 2
for name; do
    if test -L "$name"; then echo !; continue; fi
    if ! test -e "$name"; then echo -; continue; fi
    if ! test -f "$name"; then echo !; continue; fi
    size=$(($(wc -c < "$name")))
    echo $size
    test $size -gt $limit || { head -c $size < "$name"; echo .; }
done
"""

#: Removes a directory ($1) with its content; ``rm -f`` alone would not report a path that lies below a file.
REMOVE_TREE = r"""
said=$(ls -d -- "$1" 2>&1 >/dev/null) || case $said in
    *"No such file or directory") exit 0 ;;
    *) printf '%s\n' "$said" >&2; exit 1 ;;
esac
exec rm -rf -- "$1"
"""

#: Writes enough beside a file ($1) to find out why nothing can be written there.
TRY_TO_WRITE = r"""
test ! -d "$1" || { echo "$1: Is a directory" >&2; exit 1; }
head -c 65536 /dev/zero > "$1.try"
status=$?
rm -f -- "$1.try"
exit $status
"""
