# Flakes of every kind that needs no network, below the current directory.
set -e
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
export GIT_AUTHOR_DATE='2024-01-02 03:04:05 +0000' GIT_COMMITTER_DATE='2024-01-02 03:04:05 +0000'
repository() {
  git -C "$1" -c init.defaultBranch=main init -q
  git -C "$1" add .
  git -C "$1" commit -qm first
}
mkdir -p git path tree tar/inside/sub deep nested/relative/inner top broken untracked templates/simple

echo '{ outputs = { self }: { x = "git"; }; }' >git/flake.nix
repository git
echo '{ outputs = { self }: { x = "path"; }; }' >path/flake.nix
echo 'a tree without a flake' >tree/file
echo '{ outputs = { self }: { x = "tarball"; }; }' >tar/inside/sub/flake.nix
tar -czf tar.tar.gz -C tar --mtime='2024-01-02 03:04:05' inside
cat >deep/flake.nix <<NIX
{
  inputs.git.url = "git+file://$PWD/git";
  inputs.other.url = "path:$PWD/path";
  outputs = { self, git, other }: { x = git.x + other.x; };
}
NIX
repository deep
cat >nested/relative/inner/flake.nix <<'NIX'
{ outputs = { self }: { x = "inner"; }; }
NIX
cat >nested/relative/flake.nix <<'NIX'
{ inputs.inner.url = "path:./inner"; outputs = { self, inner }: { x = "relative ${inner.x}"; }; }
NIX
cat >nested/flake.nix <<'NIX'
{ inputs.relative.url = "path:./relative"; outputs = { self, relative }: { inherit (relative) x; }; }
NIX
repository nested
cat >top/flake.nix <<NIX
{
  description = "every kind of input";
  inputs = {
    git.url = "git+file://$PWD/git";
    branch.url = "git+file://$PWD/git?ref=main";
    attributes = { type = "git"; url = "file://$PWD/git"; ref = "main"; };
    tree = { url = "path:$PWD/tree"; flake = false; };
    file = { url = "file+file://$PWD/tree/file"; flake = false; };
    tarball.url = "file://$PWD/tar.tar.gz?dir=sub";
    deep.url = "git+file://$PWD/deep";
    followed = { url = "git+file://$PWD/deep"; inputs.git.follows = "branch"; inputs.other.url = "git+file://$PWD/git"; };
    alias.follows = "deep/other";
    nested.url = "git+file://$PWD/nested";
  };
  outputs = { self, ... }@inputs: {
    x = builtins.mapAttrs (_: input: input.x or null) (removeAttrs inputs [ "self" ]);
    file = builtins.readFile inputs.file.outPath;
    paths = builtins.mapAttrs (_: input: input.outPath) (removeAttrs inputs [ "self" ]);
    info = builtins.mapAttrs (_: input: removeAttrs input.sourceInfo [ "outPath" ]) (removeAttrs inputs [ "self" "tree" "file" ]);
    own = { inherit (self) narHash lastModifiedDate; inherit (self.sourceInfo) submodules; rev = self.rev or self.dirtyRev; };
    packages.x86_64-linux.default = derivation { name = "d"; system = "x86_64-linux"; builder = "/bin/sh"; };
    packages.x86_64-linux.other = derivation { name = "o"; system = "x86_64-linux"; builder = "/bin/sh"; };
    packages.riscv64-linux.default = throw "not looked at";
    devShells.x86_64-linux.default = self.packages.x86_64-linux.default;
    checks.x86_64-linux.a = self.packages.x86_64-linux.default;
    apps.x86_64-linux.default = { type = "app"; program = "\${self.packages.x86_64-linux.default}/bin/d"; meta.description = "an app"; };
    formatter.x86_64-linux = self.packages.x86_64-linux.other;
    overlays.default = final: prev: { };
    nixosModules.a = { };
    templates.default = { path = ./templates/simple; description = "a template"; };
    lib.id = x: x;
  };
}
NIX
mkdir -p top/templates/simple
echo '{ outputs = _: { }; }' >top/templates/simple/flake.nix
repository top
# Nothing but what git tracks can be seen.
echo 1 >top/not-tracked
mkdir -p untracked
git -C untracked -c init.defaultBranch=main init -q
echo '{ outputs = _: { }; }' >untracked/flake.nix
