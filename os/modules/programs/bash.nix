# Shells: bash as the shell of people and scripts; others as far as the channel has them.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.programs.bash;
  aliases = config.environment.shellAliases // cfg.shellAliases;
  aliasLines = lib.concatLines (lib.mapAttrsToList (n: v: "alias -- ${n}=${lib.escapeShellArg v}") (lib.filterAttrs (_: v: v != null) aliases));
  shell = name: {
    enable = lib.mkEnableOption "the shell ${name}";
    shellAliases = mkOption { type = types.attrsOf types.str; default = { }; description = "Aliases."; };
    interactiveShellInit = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted."; };
    shellInit = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted."; };
    promptInit = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted."; };
  };
in
{
  options.programs = {
    bash = {
      enable = mkOption { type = types.bool; default = true; description = "Whether bash is set up."; };
      enableCompletion = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
      completion.enable = mkOption { type = types.bool; default = true; description = "Whether completions are read, where they are installed."; };
      enableLsColors = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
      shellAliases = mkOption { type = types.attrsOf (types.nullOr (types.either types.str types.path)); default = { }; description = "Aliases."; };
      shellInit = mkOption { type = types.lines; default = ""; description = "Shell read by every bash."; };
      loginShellInit = mkOption { type = types.lines; default = ""; description = "Shell read by login bashes."; };
      interactiveShellInit = mkOption { type = types.lines; default = ""; description = "Shell read by interactive bashes."; };
      promptInit = mkOption {
        type = types.lines;
        default = ''
          if [ "$TERM" != dumb ]; then
            if [ "$UID" -eq 0 ]; then PS1='\[\e[1;31m\][\u@\h:\w]#\[\e[0m\] '; else PS1='\[\e[1;32m\][\u@\h:\w]$\[\e[0m\] '; fi
          fi
        '';
        description = "The prompt.";
      };
      promptPluginInit = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted."; };
      logout = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted."; };
    };
    zsh = shell "zsh" // { autosuggestions.enable = lib.mkEnableOption "suggestions (accepted)" // { inert = true; }; syntaxHighlighting.enable = lib.mkEnableOption "colours (accepted)" // { inert = true; }; ohMyZsh = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted."; }; enableCompletion = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; }; };
    fish = shell "fish";
    command-not-found.enable = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    nano.enable = mkOption { type = types.bool; default = true; description = "Whether nano is installed."; };
    vim = { enable = lib.mkEnableOption "vim"; defaultEditor = mkOption { type = types.bool; default = false; description = "Whether it is the editor."; }; };
    neovim = { enable = lib.mkEnableOption "neovim"; defaultEditor = mkOption { type = types.bool; default = false; description = "Whether it is the editor."; }; viAlias = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; }; vimAlias = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; }; configure = mkOption { type = types.attrs; default = { }; inert = true; description = "Accepted."; }; };
    git = { enable = lib.mkEnableOption "git"; config = mkOption { type = types.attrsOf types.anything; default = { }; description = "/etc/gitconfig."; }; lfs.enable = lib.mkEnableOption "large files (accepted)" // { inert = true; }; };
    tmux = { enable = lib.mkEnableOption "tmux"; extraConfig = mkOption { type = types.lines; default = ""; description = "/etc/tmux.conf."; }; clock24 = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; }; keyMode = mkOption { type = types.str; default = "emacs"; inert = true; description = "Accepted."; }; };
    htop.enable = lib.mkEnableOption "htop";
    mtr.enable = lib.mkEnableOption "mtr";
    screen.enable = lib.mkEnableOption "screen";
    less.enable = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
    nix-ld.enable = lib.mkEnableOption "foreign programs (accepted)" // { inert = true; };
    mosh.enable = lib.mkEnableOption "mosh";
    iotop.enable = lib.mkEnableOption "iotop";
    iftop.enable = lib.mkEnableOption "iftop";
    gnupg.agent = { enable = lib.mkEnableOption "the GnuPG agent (accepted)" // { inert = true; }; enableSSHSupport = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; }; pinentryPackage = mkOption { type = types.nullOr types.package; default = null; inert = true; description = "Accepted."; }; };
    dconf.enable = lib.mkEnableOption "dconf (accepted)" // { inert = true; };
    direnv.enable = lib.mkEnableOption "direnv (accepted)" // { inert = true; };
    ssh = {
      knownHosts = mkOption {
        default = { };
        description = "Host keys that are known.";
        type = types.attrsOf (types.submodule ({ name, config, ... }: {
          options = {
            certAuthority = mkOption { type = types.bool; default = false; description = "Whether it signs others."; };
            hostNames = mkOption { type = types.listOf types.str; default = [ name ] ++ config.extraHostNames; description = "The names."; };
            extraHostNames = mkOption { type = types.listOf types.str; default = [ ]; description = "Further names."; };
            publicKey = mkOption { type = types.nullOr types.str; default = null; description = "The key."; };
            publicKeyFile = mkOption { type = types.nullOr types.path; default = null; description = "A file with the key."; };
          };
        }));
      };
      extraConfig = mkOption { type = types.lines; default = ""; description = "Lines of ssh_config(5)."; };
      startAgent = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
      askPassword = mkOption { type = types.str; default = ""; inert = true; description = "Accepted."; };
      enableAskPassword = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
      package = mkOption { type = types.package; default = pkgs.openssh; defaultText = lib.literalExpression "pkgs.openssh"; description = "OpenSSH."; };
      ciphers = mkOption { type = types.nullOr (types.listOf types.str); default = null; description = "Ciphers."; };
      kexAlgorithms = mkOption { type = types.nullOr (types.listOf types.str); default = null; description = "Key exchanges."; };
    };
  };
  config = {
    programs.bash.interactiveShellInit = lib.mkAfter config.environment.interactiveShellInit;
    programs.bash.loginShellInit = lib.mkAfter "";
    environment.systemPackages = lib.concatMap (n: lib.optional config.programs.${n}.enable pkgs.${n}) [ "zsh" "fish" "nano" "vim" "neovim" "git" "tmux" "htop" "mtr" "screen" "mosh" "iotop" "iftop" ];
    environment.variables.EDITOR = lib.mkMerge [
      (lib.mkIf (config.programs.neovim.enable && config.programs.neovim.defaultEditor) (lib.mkOverride 900 "nvim"))
      (lib.mkIf (config.programs.vim.enable && config.programs.vim.defaultEditor) (lib.mkOverride 900 "vim"))
    ];
    environment.etc = {
      bashrc.text = ''
        # Read by interactive bashes.
        if [ -n "''${__ETC_BASHRC_SOURCED:-}" ]; then return; fi
        __ETC_BASHRC_SOURCED=1
        if [ -z "''${__ETC_PROFILE_DONE:-}" ]; then . /etc/set-environment; fi
        ${cfg.shellInit}
        if [ -n "''${PS1:-}" ]; then
          shopt -s checkwinsize
          ${cfg.promptInit}
          ${aliasLines}
          ${cfg.interactiveShellInit}
        fi
      '';
      "bash.bashrc".text = ". /etc/bashrc\n";
      gitconfig = lib.mkIf (config.programs.git.config != { }) { text = lib.generators.toGitINI config.programs.git.config; };
      "tmux.conf" = lib.mkIf (config.programs.tmux.extraConfig != "") { text = config.programs.tmux.extraConfig; };
      "ssh/ssh_known_hosts".text = lib.concatStrings (lib.mapAttrsToList
        (_: h: "${lib.optionalString h.certAuthority "@cert-authority "}${lib.concatStringsSep "," h.hostNames} ${if h.publicKey != null then h.publicKey else lib.fileContents h.publicKeyFile}\n")
        config.programs.ssh.knownHosts);
      "ssh/ssh_config".text = ''
        GlobalKnownHostsFile /etc/ssh/ssh_known_hosts
        ${config.programs.ssh.extraConfig}
        ${lib.optionalString (config.programs.ssh.ciphers != null) "Ciphers ${lib.concatStringsSep "," config.programs.ssh.ciphers}"}
        ${lib.optionalString (config.programs.ssh.kexAlgorithms != null) "KexAlgorithms ${lib.concatStringsSep "," config.programs.ssh.kexAlgorithms}"}
      '';
      inputrc.text = "set meta-flag on\nset input-meta on\nset output-meta on\nset convert-meta off\n\"\\e[1~\": beginning-of-line\n\"\\e[4~\": end-of-line\n\"\\e[3~\": delete-char\n";
    };
  };
}
