# For machines without screen and keyboard: no prompts on virtual consoles.
{ lib, ... }:
{
  services.getty.ttys = lib.mkDefault [ ];
  boot.kernelParams = [ "panic=1" "boot.panic_on_fail" ];
  systemd.enableEmergencyMode = lib.mkDefault false;
}
