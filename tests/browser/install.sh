#!/bin/sh
# Install the headless Chromium in which the tests open a report, where that may be done: on Debian, as root.
# Elsewhere say why not; the tests then skip with this reason.
set -eu
missing=
for program in chromium chromedriver; do
  command -v "$program" >/dev/null || missing="$missing $program"
done
if [ -z "$missing" ]; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed:$missing; that takes root on Debian; their tests will be skipped" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# A font of its own, or a bare machine draws boxes.
apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-dejavu-core >/dev/null
