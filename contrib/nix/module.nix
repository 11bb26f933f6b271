# The service for NixOS; contrib/pkdns.service is that for other systems. A test checks that both have the same restrictions.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.pkdns;
  format = pkgs.formats.toml { };
  file = format.generate "pkdns.toml" cfg.settings;
  command = "${cfg.package}/bin/pkdns --config ${file} --pkdns-dir /var/lib/pkdns";
in
{
  options.services.pkdns = {
    enable = lib.mkEnableOption "pkdns, a DNS resolver for public-key domains";

    package = lib.mkOption {
      type = lib.types.package;
      description = "The package with the program.";
    };

    settings = lib.mkOption {
      type = format.type;
      default = { };
      example = {
        listen = [ "192.168.1.2:53" ];
        fallback_dns = "quad9";
      };
      description = "The configuration, as in pkdns.toml. Options that are not set have their defaults.";
    };

    openFirewall = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Whether port 53 is opened to the network. `settings.access` decides which clients pkdns answers.";
    };
  };

  config = lib.mkIf cfg.enable {
    networking.firewall = lib.mkIf cfg.openFirewall {
      allowedTCPPorts = [ 53 ];
      allowedUDPPorts = [ 53 ];
    };

    # For `pkdns status` and pkdns-cli.
    environment.systemPackages = [ cfg.package ];

    systemd.services.pkdns = {
      description = "DNS resolver for public-key domains";
      documentation = [ "https://github.com/pubky/pkdns" ];
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      before = [ "nss-lookup.target" ];
      wants = [ "nss-lookup.target" ];
      # A problem at boot may be gone a minute later, so systemd never stops trying.
      startLimitIntervalSec = 0;
      serviceConfig = {
        Type = "notify";
        NotifyAccess = "main";
        ExecStart = command;
        StateDirectory = "pkdns";
        StateDirectoryMode = "0700";
        RuntimeDirectory = "pkdns";
        RuntimeDirectoryMode = "0700";
        WatchdogSec = "30s";
        Restart = "on-failure";
        RestartSec = "1s";
        TimeoutStartSec = "2min";
        TimeoutStopSec = "10s";
        DynamicUser = "yes";
        AmbientCapabilities = "CAP_NET_BIND_SERVICE";
        CapabilityBoundingSet = "CAP_NET_BIND_SERVICE";
        NoNewPrivileges = "yes";
        ProtectSystem = "strict";
        ProtectHome = "yes";
        PrivateTmp = "yes";
        PrivateDevices = "yes";
        ProtectClock = "yes";
        ProtectHostname = "yes";
        ProtectKernelLogs = "yes";
        ProtectKernelTunables = "yes";
        ProtectKernelModules = "yes";
        ProtectControlGroups = "yes";
        ProtectProc = "invisible";
        RestrictAddressFamilies = "AF_INET AF_INET6 AF_UNIX AF_NETLINK";
        RestrictNamespaces = "yes";
        RestrictRealtime = "yes";
        RestrictSUIDSGID = "yes";
        RemoveIPC = "yes";
        LockPersonality = "yes";
        MemoryDenyWriteExecute = "yes";
        SystemCallArchitectures = "native";
        SystemCallFilter = [
          "@system-service"
          "~@privileged @resources"
        ];
        SystemCallErrorNumber = "EPERM";
        UMask = "0027";
        LimitNOFILE = "65536";
        MemoryMax = "2G";
      };
    };
  };
}
