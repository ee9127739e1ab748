# `firn.channel`: the index of packages, taken along so that the machine can build its next generation by itself, offline
# where the store has what is needed.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.firn.channel;
in
{
  options.firn.channel = {
    enable = mkOption { type = types.bool; default = false; description = "Whether the machine has the channel's index that it was built from, as /etc/firn/channel. It takes 30 MB."; };
    index = mkOption {
      type = types.path;
      default = builtins.path { name = "channel"; path = <debian>; };
      defaultText = lib.literalExpression "<debian>";
      description = "The index.";
    };
  };
  config.environment.etc."firn/channel" = lib.mkIf cfg.enable { source = cfg.index; };
}
