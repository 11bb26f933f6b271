# Both programs with their manual pages and completions.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
}:
let
  root = ../..;
  workspace = (lib.importTOML (root + "/Cargo.toml")).workspace;
in
rustPlatform.buildRustPackage {
  pname = "pkdns";
  version = workspace.package.version;

  # Only the files that the programs need, without build results.
  src = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions [
      (root + "/Cargo.toml")
      (root + "/Cargo.lock")
      (root + "/server")
      (root + "/cli")
      (root + "/testing")
      (root + "/fuzz/checks")
    ];
  };
  cargoLock.lockFile = root + "/Cargo.lock";
  nativeBuildInputs = [ installShellFiles ];

  # jemalloc has to know the largest memory pages that the machine may have.
  env = lib.optionalAttrs stdenv.hostPlatform.isAarch64 { JEMALLOC_SYS_WITH_LG_PAGE = "16"; };
  # The tests need a dozen other programs.
  doCheck = false;

  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    for program in pkdns pkdns-cli; do
      "$out/bin/$program" man --out man1
      for shell in bash zsh fish; do
        "$out/bin/$program" completions "$shell" >"$program.$shell"
      done
      installShellCompletion "$program".{bash,zsh,fish}
    done
    installManPage man1/*
  '';

  meta = {
    description = "DNS resolver for public-key domains";
    homepage = workspace.package.repository;
    license = lib.licenses.mit;
    mainProgram = "pkdns";
    platforms = lib.platforms.linux;
  };
}
