# Licences that packages' meta attributes name, by the short names in use.
{ lib }:
let
  free = spdxId: fullName: { inherit spdxId fullName; free = true; redistributable = true; deprecated = false; url = "https://spdx.org/licenses/${spdxId}.html"; };
  table = {
    agpl3Only = free "AGPL-3.0-only" "GNU Affero General Public License v3.0 only";
    agpl3Plus = free "AGPL-3.0-or-later" "GNU Affero General Public License v3.0 or later";
    asl20 = free "Apache-2.0" "Apache License 2.0";
    bsd2 = free "BSD-2-Clause" "BSD 2-clause \"Simplified\" License";
    bsd3 = free "BSD-3-Clause" "BSD 3-clause \"New\" or \"Revised\" License";
    cc0 = free "CC0-1.0" "Creative Commons Zero v1.0 Universal";
    eupl12 = free "EUPL-1.2" "European Union Public License 1.2";
    gpl2Only = free "GPL-2.0-only" "GNU General Public License v2.0 only";
    gpl2Plus = free "GPL-2.0-or-later" "GNU General Public License v2.0 or later";
    gpl3Only = free "GPL-3.0-only" "GNU General Public License v3.0 only";
    gpl3Plus = free "GPL-3.0-or-later" "GNU General Public License v3.0 or later";
    isc = free "ISC" "ISC License";
    lgpl21Plus = free "LGPL-2.1-or-later" "GNU Lesser General Public License v2.1 or later";
    lgpl3Plus = free "LGPL-3.0-or-later" "GNU Lesser General Public License v3.0 or later";
    mit = free "MIT" "MIT License";
    mpl20 = free "MPL-2.0" "Mozilla Public License 2.0";
    postgresql = free "PostgreSQL" "PostgreSQL License";
    publicDomain = { fullName = "Public Domain"; free = true; redistributable = true; deprecated = false; };
    unfree = { fullName = "Unfree"; free = false; redistributable = false; deprecated = false; };
    unfreeRedistributable = { fullName = "Unfree redistributable"; free = false; redistributable = true; deprecated = false; };
    zlib = free "Zlib" "zlib License";
  };
in
builtins.mapAttrs (shortName: l: { inherit shortName; } // l) table
