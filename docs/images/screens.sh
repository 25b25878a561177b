#!/usr/bin/env bash
# Draws docs/images/status.svg and top.svg: both screens as a terminal shows them, on the demo's node. Run after a screen has
# changed. Needs Debian's tmux, python3-rich and procps.
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo build --release --quiet --bins
target/release/pve-sim demo --plain --seconds 75 > /dev/null &
demo=$!
trap 'kill "$demo" 2>/dev/null; tmux -L screens kill-server 2>/dev/null' EXIT
sleep 50
root=$(pgrep -af 'vm-autoscale run --root' | sed -n 's/.*--root //p' | head -n 1)

for screen in status top; do
  tmux -L screens new-session -d -s "$screen" -x 100 -y 26 \
    "TERM=xterm-256color target/release/vm-autoscale $screen --root $root; sleep 60"
done
sleep 12
for screen in status top; do
  tmux -L screens capture-pane -p -e -t "$screen" | /usr/bin/python3 -c '
import sys
from rich.console import Console
from rich.text import Text

name = sys.argv[1]
text = sys.stdin.read().rstrip("\n")
console = Console(width=100, record=True, force_terminal=True, file=open("/dev/null", "w"))
console.print(Text.from_ansi(text), soft_wrap=True)
console.save_svg(f"docs/images/{name}.svg", title=f"vm-autoscale {name}")
' "$screen"
  # No font from the network: the reader has one.
  sed -i '/@font-face {/,/}/d' "docs/images/$screen.svg"
done
