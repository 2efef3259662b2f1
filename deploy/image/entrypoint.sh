#!/bin/sh
# Starts BentoML as BentoML's own script does, without a word that is not in the form of the log.
set -eu

fail() { # SENTENCE
  if [ "${LOG_FORMAT-}" = json ]; then
    set -- "{\"time\": \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\", \"level\": \"CRITICAL\", \"message\": \"$1\"}"
  fi
  echo "$1"
  exit 1
}

case ${1-} in
  '' | -* | serve*)
    mkdir -p "$BENTOML_HOME" 2>/dev/null && [ -w "$BENTOML_HOME" ] ||
      fail "The service needs to write to $BENTOML_HOME, and cannot. With a read-only root, mount a tmpfs on /tmp."
    ;;
esac
# BentoML takes PORT too, and tells the log so.
if [ -n "${PORT-}" ]; then export BENTOML_PORT="$PORT"; fi
unset PORT
exec bash "$(dirname "$0")/bentoml.sh" "$@"
