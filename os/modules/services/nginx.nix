# nginx: a web server and proxy; its configuration file is made from virtual hosts and locations.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types optionalString concatStrings mapAttrsToList;
  cfg = config.services.nginx;
  listen = types.submodule {
    options = {
      addr = mkOption { type = types.str; default = ""; description = "The address."; };
      port = mkOption { type = types.nullOr types.port; default = null; description = "The port."; };
      ssl = mkOption { type = types.bool; default = false; description = "Whether TLS is spoken."; };
      proxyProtocol = mkOption { type = types.bool; default = false; description = "Whether the PROXY protocol is spoken."; };
      extraParameters = mkOption { type = types.listOf types.str; default = [ ]; description = "Further words."; };
    };
  };
  location = types.submodule {
    options = {
      proxyPass = mkOption { type = types.nullOr types.str; default = null; example = "http://127.0.0.1:8080"; description = "Where requests are passed to."; };
      proxyWebsockets = mkOption { type = types.bool; default = false; description = "Whether WebSockets are passed."; };
      recommendedProxySettings = mkOption { type = types.bool; default = cfg.recommendedProxySettings; description = "Whether the usual headers are set."; };
      index = mkOption { type = types.nullOr types.str; default = null; description = "The index files."; };
      tryFiles = mkOption { type = types.nullOr types.str; default = null; example = "$uri =404"; description = "Files to try."; };
      root = mkOption { type = types.nullOr types.path; default = null; description = "The root directory."; };
      alias = mkOption { type = types.nullOr types.path; default = null; description = "The directory instead of the location."; };
      return = mkOption { type = types.nullOr (types.oneOf [ types.str types.int ]); default = null; example = "301 https://example.org"; description = "An answer."; };
      extraConfig = mkOption { type = types.lines; default = ""; description = "Further lines."; };
      priority = mkOption { type = types.int; default = 1000; description = "Locations are written in this order."; };
      fastcgiParams = mkOption { type = types.attrsOf (types.either types.str types.path); default = { }; description = "FastCGI parameters."; };
      uwsgiPass = mkOption { type = types.nullOr types.str; default = null; description = "A uwsgi server."; };
      basicAuth = mkOption { type = types.attrsOf types.str; default = { }; description = "Users and passwords, in clear text in the store."; };
      basicAuthFile = mkOption { type = types.nullOr types.path; default = null; description = "A file with users."; };
    };
  };
  vhost = types.submodule ({ name, ... }: {
    options = {
      serverName = mkOption { type = types.nullOr types.str; default = null; description = "The name; null: the attribute's."; };
      serverAliases = mkOption { type = types.listOf types.str; default = [ ]; description = "Further names."; };
      listen = mkOption { type = types.listOf listen; default = [ ]; description = "Where it listens; empty: as the switches say."; };
      listenAddresses = mkOption { type = types.listOf types.str; default = [ ]; description = "Addresses on which it listens."; };
      enableACME = mkOption { type = types.bool; default = false; description = "Whether certificates come by ACME (security.acme, not done)."; };
      useACMEHost = mkOption { type = types.nullOr types.str; default = null; inert = true; description = "Not done."; };
      acmeRoot = mkOption { type = types.nullOr types.str; default = "/var/lib/acme/acme-challenge"; inert = true; description = "Accepted."; };
      acmeFallbackHost = mkOption { type = types.nullOr types.str; default = null; inert = true; description = "Accepted."; };
      addSSL = mkOption { type = types.bool; default = false; description = "Whether it speaks TLS too."; };
      onlySSL = mkOption { type = types.bool; default = false; description = "Whether it speaks TLS only."; };
      forceSSL = mkOption { type = types.bool; default = false; description = "Whether it sends clients to TLS."; };
      rejectSSL = mkOption { type = types.bool; default = false; description = "Whether TLS is refused."; };
      kTLS = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
      http2 = mkOption { type = types.bool; default = true; description = "Whether HTTP/2 is spoken."; };
      http3 = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
      quic = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
      reuseport = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
      sslCertificate = mkOption { type = types.nullOr types.path; default = null; description = "The certificate."; };
      sslCertificateKey = mkOption { type = types.nullOr types.path; default = null; description = "Its key."; };
      sslTrustedCertificate = mkOption { type = types.nullOr types.path; default = null; description = "Certificates of authorities."; };
      redirectCode = mkOption { type = types.ints.between 300 399; default = 301; description = "With which code clients are sent to TLS."; };
      default = mkOption { type = types.bool; default = false; description = "Whether it answers for unknown names."; };
      root = mkOption { type = types.nullOr types.path; default = null; description = "The root directory."; };
      globalRedirect = mkOption { type = types.nullOr types.str; default = null; description = "A host to which everything is sent."; };
      basicAuth = mkOption { type = types.attrsOf types.str; default = { }; description = "Users and passwords, in clear text in the store."; };
      basicAuthFile = mkOption { type = types.nullOr types.path; default = null; description = "A file with users."; };
      extraConfig = mkOption { type = types.lines; default = ""; description = "Further lines."; };
      locations = mkOption { type = types.attrsOf location; default = { }; description = "Locations."; };
    };
  });

  proxyHeaders = ''
    proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-Server $hostname;
  '';
  directive = name: value: optionalString (value != null) "${name} ${toString value};\n";
  htpasswd = name: users: pkgs.writeText "${name}.htpasswd" (concatStrings (mapAttrsToList (u: p: "${u}:{PLAIN}${p}\n") users));
  auth = name: x: optionalString (x.basicAuthFile != null || x.basicAuth != { })
    "auth_basic secured;\nauth_basic_user_file ${if x.basicAuthFile != null then toString x.basicAuthFile else "${htpasswd name x.basicAuth}"};\n";
  locationText = name: l: ''
    location ${name} {
    ${optionalString (l.proxyPass != null && !cfg.proxyResolveWhileRunning) "proxy_pass ${toString l.proxyPass};\n"}${directive "uwsgi_pass" l.uwsgiPass}${optionalString l.proxyWebsockets "proxy_http_version 1.1;\nproxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection $connection_upgrade;\n"}${concatStrings (mapAttrsToList (n: v: "fastcgi_param ${n} \"${v}\";\n") l.fastcgiParams)}${directive "index" l.index}${directive "try_files" l.tryFiles}${directive "root" l.root}${directive "alias" l.alias}${directive "return" l.return}${l.extraConfig}
    ${optionalString (l.proxyPass != null && l.recommendedProxySettings) proxyHeaders}${auth "location" l}}
  '';
  locationsText = ls: concatStrings (map (x: locationText x.name x.value)
    (builtins.sort (a: b: a.value.priority < b.value.priority) (lib.attrsToList ls)));

  hostText = attrName: v:
    let
      serverName = if v.serverName != null then v.serverName else attrName;
      names = lib.concatStringsSep " " ([ serverName ] ++ v.serverAliases);
      tls = v.addSSL || v.onlySSL || v.forceSSL;
      addresses = if v.listenAddresses != [ ] then v.listenAddresses else cfg.defaultListenAddresses;
      plain = map (addr: { inherit addr; port = cfg.defaultHTTPListenPort; ssl = false; proxyProtocol = false; extraParameters = [ ]; }) addresses;
      secure = map (addr: { inherit addr; port = cfg.defaultSSLListenPort; ssl = true; proxyProtocol = false; extraParameters = [ ]; }) addresses;
      listens = if v.listen != [ ] then v.listen else lib.optionals (!v.onlySSL) plain ++ lib.optionals tls secure;
      port = l: if l.port != null then l.port else if l.ssl then 443 else 80;
      listenText = l: "listen ${optionalString (l.addr != "") (if lib.hasPrefix "unix:" l.addr then l.addr else "${l.addr}:")}${optionalString (!(lib.hasPrefix "unix:" l.addr)) (toString (port l))}${optionalString l.ssl " ssl"}${optionalString (l.ssl && v.http2) " http2"}${optionalString l.proxyProtocol " proxy_protocol"}${optionalString v.default " default_server"}${concatStrings (map (p: " ${p}") l.extraParameters)};\n";
      body = ls: extra: ''
        server {
        ${concatStrings (map listenText ls)}server_name ${names};
        ${extra}}
      '';
      main = directive "root" v.root + optionalString (v.globalRedirect != null) "return ${toString v.redirectCode} $scheme://${v.globalRedirect}$request_uri;\n"
        + optionalString tls "ssl_certificate ${toString v.sslCertificate};\nssl_certificate_key ${toString v.sslCertificateKey};\n"
        + directive "ssl_trusted_certificate" (if tls then v.sslTrustedCertificate else null)
        + optionalString v.rejectSSL "ssl_reject_handshake on;\n"
        + auth attrName v + locationsText v.locations + v.extraConfig + optionalString (v.extraConfig != "") "\n";
    in
    if v.forceSSL
    then body (builtins.filter (l: !l.ssl) listens) "location / { return ${toString v.redirectCode} https://$host$request_uri; }\n" + body (builtins.filter (l: l.ssl) listens) main
    else body listens main;

  generated = ''
    # Made from services.nginx.
    pid /run/nginx/nginx.pid;
    error_log ${cfg.logError};
    daemon off;
    ${optionalString (cfg.enableQuicBPF) "quic_bpf on;\n"}${cfg.config}
    ${optionalString (cfg.eventsConfig != "" || cfg.config == "") "events {\n${cfg.eventsConfig}\n}\n"}
    ${optionalString (cfg.config == "" && cfg.httpConfig == "") ''
      http {
      include ${cfg.package}/etc/nginx/mime.types;
      default_type application/octet-stream;
      types_hash_max_size 2048;
      client_body_temp_path /var/cache/nginx/client_body;
      proxy_temp_path /var/cache/nginx/proxy;
      fastcgi_temp_path /var/cache/nginx/fastcgi;
      uwsgi_temp_path /var/cache/nginx/uwsgi;
      scgi_temp_path /var/cache/nginx/scgi;
      ${cfg.commonHttpConfig}
      ${optionalString (cfg.resolver.addresses != [ ]) "resolver ${toString cfg.resolver.addresses}${optionalString (cfg.resolver.valid != "") " valid=${cfg.resolver.valid}"};\n"}${concatStrings (mapAttrsToList (n: u: "upstream ${n} {\n${concatStrings (mapAttrsToList (s: o: "server ${s}${concatStrings (mapAttrsToList (k: x: if x == true then " ${k}" else if x == false || x == null then "" else " ${k}=${toString x}") o)};\n") u.servers)}${u.extraConfig}\n}\n") cfg.upstreams)}${optionalString cfg.recommendedOptimisation ''
        sendfile on;
        tcp_nopush on;
        tcp_nodelay on;
        keepalive_timeout 65;
      ''}${optionalString cfg.recommendedTlsSettings ''
        ssl_session_timeout 1d;
        ssl_session_cache shared:SSL:10m;
        ssl_session_tickets off;
        ssl_prefer_server_ciphers off;
      ''}ssl_protocols ${cfg.sslProtocols};
      ${optionalString (cfg.sslCiphers != null) "ssl_ciphers ${cfg.sslCiphers};\n"}${optionalString (cfg.sslDhparam != null) "ssl_dhparam ${cfg.sslDhparam};\n"}${optionalString cfg.recommendedGzipSettings ''
        gzip on;
        gzip_static on;
        gzip_vary on;
        gzip_comp_level 5;
        gzip_min_length 256;
        gzip_proxied expired no-cache no-store private auth;
        gzip_types application/atom+xml application/json application/javascript application/rss+xml application/xml image/svg+xml text/css text/javascript text/plain text/xml;
      ''}${optionalString cfg.recommendedProxySettings ''
        proxy_redirect off;
        proxy_connect_timeout ${cfg.proxyTimeout};
        proxy_send_timeout ${cfg.proxyTimeout};
        proxy_read_timeout ${cfg.proxyTimeout};
        proxy_http_version 1.1;
        ${proxyHeaders}''}map $http_upgrade $connection_upgrade {
        default upgrade;
        "" close;
      }
      client_max_body_size ${cfg.clientMaxBodySize};
      server_tokens ${if cfg.serverTokens then "on" else "off"};
      access_log /var/log/nginx/access.log;
      ${optionalString cfg.statusPage ''
        server {
        listen 127.0.0.1:${toString cfg.defaultHTTPListenPort};
        server_name localhost;
        location = /nginx_status { stub_status on; access_log off; allow 127.0.0.1; deny all; }
        }
      ''}${concatStrings (mapAttrsToList hostText cfg.virtualHosts)}${cfg.appendHttpConfig}
      }
    ''}${optionalString (cfg.httpConfig != "") "http {\ninclude ${cfg.package}/etc/nginx/mime.types;\n${cfg.httpConfig}\n}\n"}${optionalString (cfg.streamConfig != "") "stream {\n${cfg.streamConfig}\n}\n"}${cfg.appendConfig}
  '';
  file = pkgs.writeText "nginx.conf" (lib.concatStringsSep "\n" (builtins.filter (l: lib.trim l != "") (lib.splitString "\n" generated)) + "\n");
  switch = description: mkOption { type = types.bool; default = false; inherit description; };
  text = description: mkOption { type = types.lines; default = ""; inherit description; };
in
{
  options.services.nginx = {
    enable = lib.mkEnableOption "nginx";
    package = lib.mkPackageOption pkgs "nginx" { };
    additionalModules = mkOption { type = types.listOf types.anything; default = [ ]; inert = true; description = "Accepted; the channel's nginx is built already."; };
    user = mkOption { type = types.str; default = "nginx"; description = "As whom it runs."; };
    group = mkOption { type = types.str; default = "nginx"; description = "Its group."; };
    statusPage = switch "Whether there is a status page on this machine.";
    recommendedTlsSettings = switch "Whether the usual settings for TLS are made.";
    recommendedOptimisation = switch "Whether the usual settings for speed are made.";
    recommendedGzipSettings = switch "Whether the usual settings for gzip are made.";
    recommendedBrotliSettings = switch "Accepted.";
    recommendedZstdSettings = switch "Accepted.";
    recommendedUwsgiSettings = switch "Accepted.";
    experimentalZstdSettings = switch "Accepted.";
    recommendedProxySettings = switch "Whether the usual headers for proxies are set.";
    proxyTimeout = mkOption { type = types.str; default = "60s"; description = "How long a proxied server may take."; };
    proxyResolveWhileRunning = switch "Accepted.";
    defaultListenAddresses = mkOption { type = types.listOf types.str; default = [ "0.0.0.0" ] ++ lib.optional config.networking.enableIPv6 "[::]"; description = "Where hosts listen."; };
    defaultHTTPListenPort = mkOption { type = types.port; default = 80; description = "The port for HTTP."; };
    defaultSSLListenPort = mkOption { type = types.port; default = 443; description = "The port for TLS."; };
    defaultMimeTypes = mkOption { type = types.path; default = "${cfg.package}/etc/nginx/mime.types"; inert = true; description = "Accepted."; };
    preStart = text "Shell run before.";
    config = text "The whole configuration, instead of what is made.";
    appendConfig = text "Lines at the end.";
    httpConfig = text "The whole http block, instead of what is made.";
    streamConfig = text "The stream block.";
    eventsConfig = text "Lines of the events block.";
    commonHttpConfig = text "Lines at the head of the http block.";
    appendHttpConfig = text "Lines at the end of the http block.";
    enableReload = switch "Whether a change reloads nginx instead of restarting it.";
    enableQuicBPF = switch "Accepted.";
    clientMaxBodySize = mkOption { type = types.str; default = "10m"; description = "How much clients may send."; };
    serverTokens = switch "Whether answers name the version.";
    logError = mkOption { type = types.str; default = "stderr"; description = "Where errors go."; };
    sslCiphers = mkOption { type = types.nullOr types.str; default = "HIGH:!aNULL:!MD5"; description = "Ciphers."; };
    sslProtocols = mkOption { type = types.str; default = "TLSv1.2 TLSv1.3"; description = "Protocols."; };
    sslDhparam = mkOption { type = types.nullOr types.path; default = null; description = "Parameters."; };
    mapHashMaxSize = mkOption { type = types.nullOr types.ints.positive; default = null; inert = true; description = "Accepted."; };
    mapHashBucketSize = mkOption { type = types.nullOr types.int; default = null; inert = true; description = "Accepted."; };
    serverNamesHashBucketSize = mkOption { type = types.nullOr types.int; default = null; inert = true; description = "Accepted."; };
    serverNamesHashMaxSize = mkOption { type = types.nullOr types.int; default = null; inert = true; description = "Accepted."; };
    validateConfigFile = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
    resolver = mkOption { default = { }; description = "Name servers."; type = types.submodule { options = { addresses = mkOption { type = types.listOf types.str; default = [ ]; description = "Their addresses."; }; valid = mkOption { type = types.str; default = ""; description = "How long answers count."; }; ipv4 = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; }; ipv6 = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; }; }; }; };
    upstreams = mkOption { default = { }; description = "Groups of servers."; type = types.attrsOf (types.submodule { options = { servers = mkOption { type = types.attrsOf (types.attrsOf (types.nullOr (types.oneOf [ types.bool types.int types.str ]))); default = { }; description = "The servers."; }; extraConfig = text "Further lines."; }; }); };
    virtualHosts = mkOption { type = types.attrsOf vhost; default = { }; example = lib.literalExpression ''{ "example.org" = { root = "/var/www"; }; }''; description = "Virtual hosts."; };
  };
  options.security.acme = {
    acceptTerms = mkOption { type = types.bool; default = false; inert = true; description = "Accepted; see services.nginx.virtualHosts.<name>.enableACME."; };
    defaults = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted."; };
    certs = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Not done."; };
  };

  config = lib.mkIf cfg.enable {
    assertions = lib.concatLists (mapAttrsToList
      (n: v: [
        { assertion = !(v.enableACME || v.useACMEHost != null); message = "services.nginx.virtualHosts.\"${n}\".enableACME is set, but Firn does not fetch certificates yet; give sslCertificate and sslCertificateKey."; }
        { assertion = lib.count (x: x) [ v.addSSL v.onlySSL v.forceSSL v.rejectSSL ] <= 1; message = "services.nginx.virtualHosts.\"${n}\": addSSL, onlySSL, forceSSL and rejectSSL exclude each other."; }
        { assertion = !(v.addSSL || v.onlySSL || v.forceSSL) || v.sslCertificate != null && v.sslCertificateKey != null; message = "services.nginx.virtualHosts.\"${n}\" speaks TLS and has no sslCertificate or sslCertificateKey."; }
      ])
      cfg.virtualHosts);
    users.users.nginx = lib.mkIf (cfg.user == "nginx") { isSystemUser = true; group = cfg.group; description = "nginx"; };
    users.groups.nginx = lib.mkIf (cfg.group == "nginx") { };
    system.build.nginxConfig = file;
    environment.etc."nginx/nginx.conf" = lib.mkIf cfg.enableReload { source = file; };
    systemd.services.nginx = {
      description = "nginx web server";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network.target" ];
      after = [ "network.target" ];
      stopIfChanged = false;
      reloadIfChanged = false;
      reloadTriggers = lib.optional cfg.enableReload "${file}";
      startLimitIntervalSec = 60;
      preStart = cfg.preStart;
      serviceConfig = {
        Type = "simple";
        ExecStart = "${cfg.package}/bin/nginx -c ${if cfg.enableReload then "/etc/nginx/nginx.conf" else "${file}"} -e stderr";
        ExecReload = "${pkgs.procps}/bin/kill -HUP $MAINPID";
        Restart = "always";
        RestartSec = "10s";
        User = cfg.user;
        Group = cfg.group;
        RuntimeDirectory = "nginx";
        RuntimeDirectoryMode = "0750";
        CacheDirectory = "nginx";
        CacheDirectoryMode = "0750";
        LogsDirectory = "nginx";
        LogsDirectoryMode = "0750";
        AmbientCapabilities = [ "CAP_NET_BIND_SERVICE" ];
        CapabilityBoundingSet = [ "CAP_NET_BIND_SERVICE" ];
        NoNewPrivileges = true;
        UMask = "0027";
        PrivateTmp = true;
        ProtectSystem = "strict";
        ProtectHome = lib.mkDefault true;
      };
    };
  };
}
