# `users.users` and `users.groups`: who may log in, and as whom services run.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.users;
  shellPath = s: if s == null then "" else if lib.isDerivation s then "${s}${s.shellPath or "/bin/${s.meta.mainProgram or (lib.getName s)}"}" else toString s;

  user = { name, config, ... }: {
    options = {
      name = mkOption { type = types.passwdEntry types.str; default = name; description = "The login name."; };
      description = mkOption { type = types.passwdEntry types.str; default = ""; example = "Anna Berg"; description = "The full name."; };
      uid = mkOption { type = types.nullOr types.int; default = null; description = "The user id; without one it is chosen and kept."; };
      enable = mkOption { type = types.bool; default = true; description = "Whether the user exists."; };
      isNormalUser = mkOption { type = types.bool; default = false; description = "Whether this is a person: a home directory, a shell, the group `users`."; };
      isSystemUser = mkOption { type = types.bool; default = false; description = "Whether this is a service's user."; };
      group = mkOption { type = types.str; default = ""; description = "The primary group."; };
      extraGroups = mkOption { type = types.listOf types.str; default = [ ]; description = "Further groups."; };
      home = mkOption { type = types.passwdEntry types.path; default = "/var/empty"; description = "The home directory."; };
      homeMode = mkOption { type = types.strMatching "[0-7]{1,5}"; default = "700"; description = "Its mode."; };
      createHome = mkOption { type = types.bool; default = false; description = "Whether it is made."; };
      cryptHomeLuks = mkOption { type = types.nullOr types.str; default = null; inert = true; description = "Not done."; };
      useDefaultShell = mkOption { type = types.bool; default = false; description = "Whether the shell is users.defaultUserShell."; };
      shell = mkOption { type = types.nullOr (types.either types.package (types.passwdEntry types.path)); default = null; description = "The login shell."; };
      ignoreShellProgramCheck = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
      password = mkOption { type = types.nullOr types.str; default = null; description = "The password in clear text: everybody can read it in the store."; };
      hashedPassword = mkOption { type = types.nullOr (types.passwdEntry types.str); default = null; description = "The password's hash, crypt(5)."; };
      hashedPasswordFile = mkOption { type = types.nullOr types.str; default = null; description = "A file whose first line is the hash."; };
      passwordFile = mkOption { type = types.nullOr types.str; default = null; visible = false; description = "The old name of hashedPasswordFile."; };
      initialPassword = mkOption { type = types.nullOr types.str; default = null; description = "In clear text, only when the user is made."; };
      initialHashedPassword = mkOption { type = types.nullOr (types.passwdEntry types.str); default = null; description = "The hash, only when the user is made."; };
      subUidRanges = mkOption { type = types.listOf (types.submodule { options = { startUid = mkOption { type = types.int; description = "The first id."; }; count = mkOption { type = types.int; default = 1; description = "How many."; }; }; }); default = [ ]; description = "Subordinate user ids."; };
      subGidRanges = mkOption { type = types.listOf (types.submodule { options = { startGid = mkOption { type = types.int; description = "The first id."; }; count = mkOption { type = types.int; default = 1; description = "How many."; }; }; }); default = [ ]; description = "Subordinate group ids."; };
      autoSubUidGidRange = mkOption { type = types.bool; default = false; description = "Whether a range of subordinate ids is chosen."; };
      linger = mkOption { type = types.nullOr types.bool; default = null; inert = true; description = "Accepted; there are no user sessions."; };
      expires = mkOption { type = types.nullOr types.str; default = null; inert = true; description = "Accepted."; };
      packages = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages for this user; installed for all."; };
      pamMount = mkOption { type = types.attrsOf types.str; default = { }; inert = true; description = "Not done."; };
    };
    config = lib.mkMerge [
      (lib.mkIf config.isNormalUser {
        group = lib.mkDefault "users";
        createHome = lib.mkDefault true;
        home = lib.mkDefault "/home/${config.name}";
        homeMode = lib.mkDefault "700";
        useDefaultShell = lib.mkDefault true;
      })
      (lib.mkIf (config.passwordFile != null) { hashedPasswordFile = lib.mkDefault config.passwordFile; })
    ];
  };
  shellOf = u: shellPath (if u.shell != null then u.shell else if u.useDefaultShell then cfg.defaultUserShell else "${pkgs.login}/bin/nologin");

  enabledUsers = builtins.filter (u: u.enable) (lib.attrValues cfg.users);
  duplicates = what: list: builtins.filter (ids: builtins.length ids > 1)
    (lib.attrValues (builtins.groupBy (x: toString x.${what}) (builtins.filter (x: x.${what} != null) list)));
in
{
  options.users = {
    mutableUsers = mkOption { type = types.bool; default = true; description = "Whether users and passwords that were changed by hand stay."; };
    enforceIdUniqueness = mkOption { type = types.bool; default = true; description = "Whether two users may have one id."; };
    allowNoPasswordLogin = mkOption { type = types.bool; default = false; description = "Whether a system is built into which nobody can log in."; };
    defaultUserShell = mkOption { type = types.either types.path types.package; default = pkgs.bash; defaultText = lib.literalExpression "pkgs.bash"; description = "The shell of normal users."; };
    defaultUserHome = mkOption { type = types.str; default = "/home"; inert = true; description = "Accepted."; };
    motd = mkOption { type = types.nullOr types.lines; default = null; description = "A message shown after login."; };
    motdFile = mkOption { type = types.nullOr types.str; default = null; inert = true; description = "Accepted."; };
    users = mkOption { type = types.attrsOf (types.submodule user); default = { }; example = { anna = { isNormalUser = true; extraGroups = [ "wheel" ]; }; }; description = "The users."; };
    extraUsers = mkOption { type = types.attrsOf types.anything; visible = false; default = { }; description = "The old name of users.users."; };
    groups = mkOption {
      default = { };
      description = "The groups.";
      type = types.attrsOf (types.submodule ({ name, ... }: {
        options = {
          name = mkOption { type = types.passwdEntry types.str; default = name; description = "The name."; };
          gid = mkOption { type = types.nullOr types.int; default = null; description = "The group id; without one it is chosen and kept."; };
          members = mkOption { type = types.listOf (types.passwdEntry types.str); default = [ ]; description = "Members beside those who name it."; };
        };
      }));
    };
  };

  config = {
    assertions =
      map
        (u: {
          assertion = u.isNormalUser != u.isSystemUser || builtins.elem u.name [ "root" ] || u.uid != null && u.uid < 1000 && !u.isNormalUser;
          message = "users.users.${u.name}: exactly one of isNormalUser and isSystemUser must be true.";
        })
        enabledUsers
      ++ map (u: { assertion = u.group != ""; message = "users.users.${u.name}.group is unset. Set it, for example: users.users.${u.name}.group = \"${u.name}\"; users.groups.${u.name} = { };"; }) enabledUsers
      ++ map (u: { assertion = u.group == "" || cfg.groups ? ${u.group} || builtins.any (g: g.name == u.group) (lib.attrValues cfg.groups); message = "users.users.${u.name}.group is \"${u.group}\", a group that is not declared. Add users.groups.${u.group} = { };"; }) enabledUsers
      ++ lib.optionals cfg.enforceIdUniqueness (
        map (us: { assertion = false; message = "The users ${lib.concatMapStringsSep " and " (u: u.name) us} have one and the same uid ${toString (lib.head us).uid}."; }) (duplicates "uid" enabledUsers)
        ++ map (gs: { assertion = false; message = "The groups ${lib.concatMapStringsSep " and " (g: g.name) gs} have one and the same gid ${toString (lib.head gs).gid}."; }) (duplicates "gid" (lib.attrValues cfg.groups))
      )
      ++ [
        {
          assertion = cfg.mutableUsers || cfg.allowNoPasswordLogin || config.services.getty.autologinUser != null
            || builtins.any
              (u: (u.name == "root" || builtins.elem "wheel" u.extraGroups)
                && (u.hashedPassword or null != null && u.hashedPassword != "!" || u.hashedPasswordFile != null || u.password != null
                || u.openssh.authorizedKeys.keys != [ ] || u.openssh.authorizedKeys.keyFiles != [ ]))
              enabledUsers;
          message = "Neither root nor any user in the group wheel has a password or an SSH key, and users.mutableUsers is false: nobody could log in. Set users.users.root.hashedPassword or a user's openssh.authorizedKeys.keys, or users.allowNoPasswordLogin.";
        }
      ];
    warnings = lib.concatMap
      (u: lib.optional (u.password != null) "users.users.${u.name}.password stands in clear text in the store, which everybody on the machine can read; use hashedPassword or hashedPasswordFile.")
      enabledUsers;

    users.users = {
      root = { uid = 0; group = "root"; description = "System administrator"; home = "/root"; shell = lib.mkDefault cfg.defaultUserShell; };
      nobody = { uid = 65534; group = "nogroup"; isSystemUser = true; description = "Unprivileged user"; };
    };
    users.groups = {
      root.gid = 0;
      wheel.gid = 1;
      disk.gid = 6;
      kmem.gid = 2;
      tty.gid = 3;
      floppy.gid = 18;
      uucp.gid = 14;
      lp.gid = 20;
      cdrom.gid = 24;
      tape.gid = 25;
      audio.gid = 17;
      video.gid = 26;
      dialout.gid = 27;
      nogroup.gid = 65534;
      users.gid = 100;
      nixbld.gid = 30000;
      utmp.gid = 29;
      adm.gid = 55;
      input.gid = 174;
      shadow.gid = 318;
      kvm.gid = 302;
      render.gid = 303;
      systemd-journal.gid = 62;
      networkmanager.gid = 57;
      keys.gid = 96;
    };
    environment.systemPackages = lib.concatMap (u: u.packages) enabledUsers;
    environment.etc.motd = lib.mkIf (cfg.motd != null) { text = cfg.motd; };

    system.build.users = map
      (u: {
        inherit (u) name uid group extraGroups description home createHome homeMode isSystemUser isNormalUser
          hashedPassword hashedPasswordFile password initialPassword initialHashedPassword autoSubUidGidRange;
        shell = shellOf u;
        subUidRanges = map (r: { start = r.startUid; inherit (r) count; }) u.subUidRanges;
        subGidRanges = map (r: { start = r.startGid; inherit (r) count; }) u.subGidRanges;
      })
      enabledUsers;
    system.build.groups = map (g: { inherit (g) name gid members; }) (lib.attrValues cfg.groups);
  };
}
