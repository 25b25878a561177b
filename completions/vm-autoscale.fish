# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_vm_autoscale_global_optspecs
    string join \n root= output-format= h/help V/version
end

function __fish_vm_autoscale_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_vm_autoscale_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_vm_autoscale_using_subcommand
    set -l cmd (__fish_vm_autoscale_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "run" -d 'Watch and scale this node\'s VMs (what the service runs)'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "status" -d 'Show every managed VM: need, allocation, last change, and why'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "top" -d 'The same live on a full screen, with sparklines of what each VM needs; without a terminal, `status`'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "explain" -d 'Tell the story of the last decision about one VM'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "apply" -d 'Carry out what is recommended for a VM whose mode is not auto'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "history" -d 'Show what happened: changes with their outcomes, problems and their ends'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "backtest" -d 'Show what the agent would have done with a history, before it touches anything'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "doctor" -d 'Tell what works live for each VM, and what one power cycle would unlock'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "prepare" -d 'Make a VM ready for more: hotplug, NUMA, a higher ceiling'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "release" -d 'Put back what a VM\'s settings were, and stop managing it'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "pause" -d 'Change nothing on this node, or in the whole cluster, until told otherwise'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "resume" -d 'Take back the order to change nothing'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "check-config" -d 'Check the configuration file and show what is in force'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "import-config" -d 'Make a configuration from that of proxmox-vm-autoscale'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "notify-test" -d 'Send a test message through each notification channel'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "completions" -d 'Print the completions for a shell'
complete -c vm-autoscale -n "__fish_vm_autoscale_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand run" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand run" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand run" -l once -d 'Decide and act once, print what came of it, and end'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand run" -l dry-run -d 'Decide, but change nothing'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand run" -s v -l verbose -d 'Also log what is done when nothing is changed'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand run" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand status" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand status" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand status" -s w -l watch -d 'Show it anew with every decision, until Ctrl-C'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand status" -l cluster -d 'Show every node of the cluster with its agent, and every VM that agents have changed'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand status" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand top" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand top" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand top" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand explain" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand explain" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand explain" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand apply" -l only -d 'Only this resource' -r -f -a "cpu\t''
memory\t''"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand apply" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand apply" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand apply" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand history" -s n -l last -d 'The last so many events' -r
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand history" -l since -d 'Only what happened within this time: 90s, 15m, 2h, 7d' -r
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand history" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand history" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand history" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand history" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand backtest" -l config -d 'The configuration to try, instead of the node\'s, or of what is built in where the node has none. Either goes over the cluster\'s' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand backtest" -l trace -d 'Histories from files, one VM each' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand backtest" -l vm -d 'What Proxmox VE recorded of these VMs' -r
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand backtest" -l timeframe -d 'How far back the record goes' -r -f -a "day\t'The last day'
week\t'The last week'
month\t'The last month'
year\t'The last year'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand backtest" -l profile -d 'Size the histories from files by this profile, instead of `default` or that of the VM whose number the name begins with' -r
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand backtest" -l cpu-method -d 'Move CPU by this lever, instead of what the configuration says' -r -f -a "auto\t'vCPUs where they can move, else the quota'
vcpus\t'vCPUs only'
cpulimit\t'The quota only'
off\t'CPU is left alone'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand backtest" -l memory-method -d 'Move memory by this lever, instead of what the configuration says; with dimm, modules are unplugged, too' -r -f -a "auto\t'The balloon under the ceiling, memory modules above it'
balloon\t'The balloon only'
dimm\t'Memory modules only'
off\t'Memory is left alone'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand backtest" -l html -d 'Also write a page with plots to FILE, to look at or to send to somebody' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand backtest" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand backtest" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand backtest" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand backtest" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand doctor" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand doctor" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand prepare" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand prepare" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand prepare" -l yes -d 'Make the settings; without this they are only shown'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand prepare" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand prepare" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand release" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand release" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand release" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand release" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand pause" -l reason -d 'Why, for whoever wonders later' -r
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand pause" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand pause" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand pause" -l cluster -d 'For every node of the cluster, also those that are down now'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand pause" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand pause" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand resume" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand resume" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand resume" -l cluster -d 'Take back the order to the whole cluster'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand resume" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand check-config" -l vm -d 'Show the settings of this VM and where each comes from' -r
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand check-config" -l profile -d 'With --vm: as if its tag picked this profile' -r
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand check-config" -l at -d 'With --vm: what holds at this time instead of now, such as 2026-11-24T08:00 by the node\'s clock' -r
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand check-config" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand check-config" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand check-config" -s q -l quiet -d 'Print nothing unless the file cannot be used; warnings then count as right. What `systemctl reload` asks'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand check-config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand check-config" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand import-config" -l output -d 'Write the new file here instead of printing it' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand import-config" -l secrets -d 'Write tokens and passwords to files in DIR, readable by root only; without it beside FILE' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand import-config" -l host -d 'Which of the old file\'s hosts this node is; repeat it for the other nodes of its cluster' -r
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand import-config" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand import-config" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand import-config" -l force -d 'Replace files that exist'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand import-config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand import-config" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand notify-test" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand notify-test" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand notify-test" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand notify-test" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand completions" -l root -d 'Take every system path under DIR: a simulated node, a test, a rescue system' -r -F
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand completions" -l output-format -d 'How reading commands print' -r -f -a "text\t'For people'
json\t'One line of JSON'
json-pretty\t'Indented JSON'
yaml\t'YAML'"
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand completions" -s V -l version -d 'Print version'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "run" -d 'Watch and scale this node\'s VMs (what the service runs)'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "status" -d 'Show every managed VM: need, allocation, last change, and why'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "top" -d 'The same live on a full screen, with sparklines of what each VM needs; without a terminal, `status`'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "explain" -d 'Tell the story of the last decision about one VM'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "apply" -d 'Carry out what is recommended for a VM whose mode is not auto'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "history" -d 'Show what happened: changes with their outcomes, problems and their ends'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "backtest" -d 'Show what the agent would have done with a history, before it touches anything'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "doctor" -d 'Tell what works live for each VM, and what one power cycle would unlock'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "prepare" -d 'Make a VM ready for more: hotplug, NUMA, a higher ceiling'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "release" -d 'Put back what a VM\'s settings were, and stop managing it'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "pause" -d 'Change nothing on this node, or in the whole cluster, until told otherwise'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "resume" -d 'Take back the order to change nothing'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "check-config" -d 'Check the configuration file and show what is in force'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "import-config" -d 'Make a configuration from that of proxmox-vm-autoscale'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "notify-test" -d 'Send a test message through each notification channel'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "completions" -d 'Print the completions for a shell'
complete -c vm-autoscale -n "__fish_vm_autoscale_using_subcommand help; and not __fish_seen_subcommand_from run status top explain apply history backtest doctor prepare release pause resume check-config import-config notify-test completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
