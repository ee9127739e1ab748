# The package set: every package of the Debian channel under its own name, nixpkgs' names for what configurations
# write, nixpkgs' builders, and Firn's own programs. Lazy: a package costs nothing until it is asked for.
#
#   import <firn/os/packages> { }                        the channel in use
#   import <firn/os/packages> { overlays = [ … ]; }      as nixpkgs takes them
{ # The index that `firn channel add` wrote.
  channel ? <debian>
  # Firn's distribution: bin/ and os/.
, firn ? <firn>
, system ? "x86_64-linux"
  # nixpkgs' `config`. Nothing in the channel is unfree or insecure by Firn's knowledge, so that only `packageOverrides` matters.
, config ? { }
, overlays ? [ ]
, lib ? import ../lib
}:
let
  layers = [
    (final: _: import ./debian.nix { inherit channel system lib; pkgs = final; })
    (final: _: import ./firn.nix { inherit firn; })
    (final: _: import ./builders.nix { inherit lib system; pkgs = final; })
    (final: _: import ./wrappers.nix { inherit lib; pkgs = final; })
    (import ./joined.nix { inherit lib; })
    (import ./locales.nix { inherit lib; })
    (import ./kernel.nix { inherit lib; })
    (import ./aliases.nix { inherit lib; })
  ]
  ++ lib.optional (config ? packageOverrides) (final: prev: (if lib.isFunction config.packageOverrides then config.packageOverrides prev else config.packageOverrides))
  ++ overlays;

  fix = layers:
    let
      final = builtins.foldl' (prev: layer: prev // layer final prev)
        {
          inherit lib config overlays system;
          extend = overlay: fix (layers ++ [ overlay ]);
          appendOverlays = more: fix (layers ++ more);
          callPackage = lib.callPackageWith final;
          callPackages = lib.callPackagesWith final;
          newScope = extra: lib.callPackageWith (final // extra);
          pkgs = final;
        }
        layers;
    in
    final;
in
fix layers
