#!/usr/bin/env bash
# Draws docs/images/mail.png: the HTML mail of the snapshot test, in Debian's chromium. Run after the mail has changed.
set -euo pipefail
cd "$(dirname "$0")/../.."

page=$(mktemp --suffix=.html)
trap 'rm -f "$page"' EXIT
# A snapshot is the text behind the second line of dashes.
snapshots=src/notify/message/snapshots/vm_autoscale__notify__message__tests
for name in event digest; do
  awk 'dashes == 2 { print } /^---$/ && dashes < 2 { dashes++ }' "${snapshots}__$name.html.snap"
done > "$page"
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=760,990 \
  --screenshot=docs/images/mail.png "file://$page" 2>/dev/null
