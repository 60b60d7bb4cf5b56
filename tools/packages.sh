# Used by the other scripts: installs a package of the operating system and asks no questions.
# install_package APT APK DNF BREW ("-" if the system has no such package). Fails if it cannot install it.

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo -n "$@" # -n: never ask for a password
    else
        return 1
    fi
}

install_package() {
    if command -v apt-get >/dev/null 2>&1; then
        [ "$1" != - ] || return 1
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $1 </dev/null >/dev/null 2>&1 && return 0
        as_root apt-get -qq update </dev/null >/dev/null 2>&1 || return 1
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $1 </dev/null >/dev/null
    elif command -v apk >/dev/null 2>&1; then
        [ "$2" != - ] || return 1
        as_root apk add --quiet $2 </dev/null
    elif command -v dnf >/dev/null 2>&1; then
        [ "$3" != - ] || return 1
        as_root dnf -q -y install $3 </dev/null >/dev/null
    elif command -v brew >/dev/null 2>&1; then
        [ "$4" != - ] || return 1
        brew install --quiet $4 </dev/null
    else
        return 1
    fi
}
