# rtzr-bridge's commands, options, and what its running daemon knows, by Tab in bash: docs/install.md

_rtzr_bridge() {
    local line=${COMP_LINE:0:COMP_POINT} found one word cut=
    # One answer a line, without what fish would show beside it.
    found=$(_RTZR_BRIDGE_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \
        _TYPER_COMPLETE_ARGS=$line "$1" 2>/dev/null)
    # Readline cuts words at colons, and what is before the last one stays: webhook:crm
    word=${line##* }
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
        cut=${word%"${word##*:}"}
    fi
    COMPREPLY=()
    while IFS=$'\t' read -r one _; do
        if [[ -n $one ]]; then
            one=${one#"$cut"}
            printf -v one %q "$one"  # names are the network's: none may become a command
            COMPREPLY+=("$one")
        fi
    done <<< "$found"
}

complete -o default -F _rtzr_bridge rtzr-bridge
