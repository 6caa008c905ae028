#!/bin/sh
# What the tests need from Debian. Installed when we are root on Debian; elsewhere the tests that
# need it skip and say what to install (with CI set they fail). No daemon that comes with a package
# is started: the tests start their own.
set -eu
packages="git gcc libc6-dev strace tmux openssh-server openssh-client libnss-wrapper tcsh fish faketime librsvg2-bin iproute2"
# A real Slurm: its daemons, its commands, the REST service with tokens, and what signs messages.
packages="$packages slurmctld slurmd slurm-client slurmrestd slurm-wlm-jwt-plugin munge"
# Its accounting, which takes seconds to start: only for the long tests (`make soak`).
[ "${1:-}" != soak ] || packages="$packages slurmdbd mariadb-server-core"
# A smart card in software, and Kerberos with its ticket office.
[ "${1:-}" != soak ] || packages="$packages softhsm2 opensc krb5-kdc krb5-admin-server krb5-user"
missing=""
for p in $packages; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q "install ok installed" || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing Debian packages:$missing"
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' > $policy
    chmod 755 $policy
  fi
  (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing) \
    > /tmp/traindeck-apt.$$ 2>&1 || {
      tail -n 20 /tmp/traindeck-apt.$$ >&2
      echo "setup.sh: apt-get failed; the whole log is /tmp/traindeck-apt.$$" >&2
      exit 1
    }
  rm -f /tmp/traindeck-apt.$$
else
  echo "not installed:$missing (some tests will skip)"
fi
