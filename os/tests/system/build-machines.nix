# nix.buildMachines: the file that the daemon reads, and that it is not read where builds are not distributed.
{ evaluate, lib, ... }:
let
  with' = distributed: (evaluate {
    imports = [ ../fixtures/uefi-server/configuration.nix ];
    nix.distributedBuilds = distributed;
    nix.buildMachines = [
      { hostName = "a.example"; systems = [ "x86_64-linux" "i686-linux" ]; sshUser = "builder"; sshKey = "/root/key"; maxJobs = 4; speedFactor = 2; supportedFeatures = [ "kvm" ]; mandatoryFeatures = [ "big" ]; publicHostKey = "QUJD"; }
      { hostName = "b.example"; protocol = "ssh-ng"; system = "aarch64-linux"; }
    ];
  }).config;
  builders = config: builtins.filter (lib.hasPrefix "builders =") (lib.splitString "\n" config.environment.etc."nix/nix.conf".text);
in
{
  machines = lib.splitString "\n" (with' true).environment.etc."nix/machines".text;
  builders = map (distributed: builders (with' distributed)) [ true false ];
}
