# Firn in the place of nixpkgs: what `firn build --flake` gives a flake for its input `nixpkgs`, so that its
# `nixosConfigurations` become systems of Firn. Firn's own files are found in the search path; they are as much a part of
# the program as its builtins.
{
  description = "Firn's modules, library and packages under the names that nixpkgs has for its own";

  outputs = { self }:
    let
      lib = import <firn/os/lib>;
      systems = [ "x86_64-linux" ];
      nixosSystem =
        { modules ? [ ], specialArgs ? { }, system ? null, pkgs ? null, baseModules ? null, extraModules ? [ ], modulesLocation ? null, check ? true, prefix ? [ ], lib ? null }:
        import <firn/os> (
          { inherit specialArgs; modules = extraModules ++ modules; }
          // (if system == null then { } else { inherit system; })
          // (if pkgs == null then { } else { inherit pkgs; })
        );
      packages = system: (import <firn/os> { inherit system; }).pkgs;
    in
    {
      lib = lib // { inherit nixosSystem; };
      legacyPackages = lib.genAttrs systems packages;
    };
}
