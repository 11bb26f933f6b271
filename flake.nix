# For Nix with flakes: `nix build`, `nix run . -- --testnet`, and a module for NixOS. The flake has been parsed and the module
# evaluated, but nothing has ever been built with them.
{
  description = "DNS resolver for public-key domains";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEach = function: nixpkgs.lib.genAttrs systems (system: function nixpkgs.legacyPackages.${system});
    in
    {
      packages = forEach (pkgs: {
        default = pkgs.callPackage ./contrib/nix/package.nix { };
      });

      nixosModules.default =
        { pkgs, lib, ... }:
        {
          imports = [ ./contrib/nix/module.nix ];
          services.pkdns.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.default;
        };
    };
}
