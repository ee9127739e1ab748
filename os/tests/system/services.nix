# Every service that Firn has, and the text of the files that they read.
{ evaluate, ... }:
let
  c = (evaluate ../fixtures/services.nix).config;
  units = c.system.build.units;
in
{
  nginx = c.system.build.nginxConfig.text;
  firewall = c.system.build.firewallRules.text;
  chrony = c.environment.etc."chrony/chrony.conf".source.text;
  crontab = c.environment.etc.crontab;
  knownHosts = c.environment.etc."ssh/ssh_known_hosts".text;
  environment = builtins.filter (e: builtins.match ".*(GREETING|NOTHING).*" e != null) units."hello.service".sections.Service.Environment;
  triggers = units."hello.service".x ? restartTriggers;
  socket = units."echo.socket".sections;
  template = units."echo@.service".sections.Service.StandardInput;
  reset = builtins.head units."watch.service".sections.Service.ExecStart;
  path = units."watch.path".sections;
  slice = units."work.slice".sections;
  etcHello = builtins.filter (e: e.target == "hello") (map (e: removeAttrs e [ "source" ]) c.system.build.activation.etc);
  tmpfiles = builtins.filter (t: builtins.match ".*/a.x20b .*" t != null) c.system.build.activation.tmpfiles;
  snippets = c.system.build.activation.snippets;
  wrappers = builtins.filter (w: w.program == "reader") (map (w: removeAttrs w [ "source" ]) c.system.build.activation.wrappers);
  names = builtins.filter (n: builtins.match ".*[.](service|timer|socket|path|slice)" n != null) (builtins.attrNames units);
  dnsmasq = c.services.dnsmasq.settings.server;
  interfaces = builtins.mapAttrs (_: i: { inherit (i) useDHCP; v4 = i.ipv4.addresses; v6 = i.ipv6.addresses; }) c.networking.interfaces;
  gateway = { inherit (c.networking.defaultGateway) address interface; };
  caddy = c.environment.etc."caddy/Caddyfile".source.text;
  builds = builtins.isString c.system.build.toplevel.drvPath;
}
