# rtzr-bridge's commands, options, and what its running daemon knows, by Tab in fish: docs/install.md

function __rtzr_bridge_complete
    set -l found (env _RTZR_BRIDGE_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \
        _TYPER_COMPLETE_ARGS=(commandline -cp | string collect) rtzr-bridge 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end

complete --command rtzr-bridge --no-files --arguments '(__rtzr_bridge_complete)'
