# `specialisation.<name>`: variants of the configuration, each a system of its own inside the generation.
{ config, lib, extendModules, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.specialisation = mkOption {
    default = { };
    example = lib.literalExpression ''{ debug.configuration.boot.kernelParams = [ "debug" ]; }'';
    description = "Variants of this configuration, offered in the boot menu and to `firn switch --specialisation`.";
    type = types.attrsOf (types.submodule (local: {
      options = {
        inheritParentConfig = mkOption { type = types.bool; default = true; description = "Whether the variant adds to this configuration or stands alone."; };
        configuration = mkOption {
          default = { };
          description = "The modules of the variant.";
          type = types.raw // {
            name = "variant";
            description = "configuration of the variant";
            merge = loc: defs:
              let
                modules = map (d: lib.setDefaultModuleLocation d.file d.value) defs;
                noFurther = { lib, ... }: { specialisation = lib.mkOverride 0 { }; };
              in
              if local.config.inheritParentConfig
              then (extendModules { modules = [ noFurther ] ++ modules; }).config
              else (import ../../default.nix { modules = [ noFurther ] ++ modules; }).config;
          };
        };
      };
    }));
  };
}
