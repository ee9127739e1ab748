# System names that packages' meta.platforms speak of; Firn builds for the first.
rec {
  x86_64 = [ "x86_64-linux" ];
  aarch64 = [ "aarch64-linux" ];
  linux = x86_64 ++ aarch64;
  unix = linux;
  gnu = linux;
  all = linux;
  darwin = [ ];
  none = [ ];
  i686 = [ ];
  x86 = x86_64;
}
