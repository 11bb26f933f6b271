//! How to use this server: a step for each browser and system, those of the visitor first. Pure. Nothing is advised that cannot
//! work from where the page was opened.

use std::net::IpAddr;

use super::{
    About, DNS_PATH, Origin,
    imports::Imports,
    platform::{Browser, System},
    private_dns,
};

/// What a visitor opened the page with, and how it was reached.
pub(super) struct Setting<'a> {
    pub(super) about: &'a About,
    pub(super) origin: &'a Origin,
    pub(super) system: System,
    pub(super) browser: Browser,
}

struct Step {
    title: &'static str,
    body: String,
    /// Less is nearer to the visitor. What is the visitor's own comes before 2.
    rank: u8,
}

/// Text with a button to copy it, where the browser can.
pub(super) fn copyable(text: &str) -> String {
    format!("<div class=\"copyable\"><pre>{text}</pre></div>")
}

impl Setting<'_> {
    fn is_encrypted(&self) -> bool {
        self.origin.scheme == "https"
    }

    fn doh(&self) -> String {
        format!("{}{DNS_PATH}", self.origin.url())
    }

    fn imports(&self) -> Imports<'_> {
        Imports::new(self.about)
    }

    /// An address of this server, if one is known: that by which the visitor reached it before one that the configuration has.
    fn address(&self) -> Option<IpAddr> {
        self.origin.host.parse().ok().or(self.about.address)
    }

    /// The address to write into a command, with `shown`, and what there is to say of it.
    fn address_in_command(&self, shown: impl Fn(IpAddr) -> String) -> (String, &'static str) {
        match self.address() {
            Some(address) => (shown(address), ""),
            None => (
                "ADDRESS".to_owned(),
                " Write the IP address of this server in place of <code>ADDRESS</code>.",
            ),
        }
    }

    /// The part of the page about setting up.
    pub(super) fn html(&self) -> String {
        let mut steps = self.steps();
        steps.sort_by_key(|step| step.rank);
        let steps: String = steps
            .iter()
            .map(|Step { title, body, rank }| {
                let (open, badge) = match rank {
                    0 => (" open", "<span class=\"badge\">yours</span>"),
                    1 => ("", "<span class=\"badge\">yours</span>"),
                    _ => ("", ""),
                };
                format!("<details class=\"step\"{open}><summary>{title}{badge}</summary>{body}</details>\n")
            })
            .collect();
        format!("{}{steps}", self.beginning())
    }

    fn beginning(&self) -> String {
        if !self.is_encrypted() {
            let elsewhere = self.about.over_https(self.origin, "to see how to set them up");
            return format!(
                "<p class=\"warning\">You opened this page over plain HTTP. Browsers and phones only take a resolver whose \
                 address begins with <code>https://</code>. {elsewhere}</p>"
            );
        }
        let ca = self.imports().warning();
        let doh = self.doh();
        format!(
            "<p>This is the address that browsers and phones ask for. Some programs want it as a template, with \
             <code>{{?dns}}</code> at its end.</p>\n\
             <div class=\"copyable\"><code class=\"value\" id=\"doh\">{doh}</code></div>\n{ca}"
        )
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.is_encrypted() {
            steps.extend([
                self.firefox(),
                self.chrome(),
                self.edge(),
                self.apple(),
                self.mac(),
                self.windows(),
            ]);
        }
        steps.extend(self.android());
        steps.extend(self.resolved());
        steps
    }

    /// The browser at hand is what the check looks at, so that it comes before its system.
    fn of_browser(&self, browser: Browser) -> u8 {
        let is_desktop = !matches!(self.system, System::Android | System::Apple);
        if self.browser == browser && is_desktop { 0 } else { 3 }
    }

    fn of_system(&self, system: System) -> u8 {
        let has_own_resolver = self.browser != Browser::Other && system != System::Android;
        match self.system == system {
            true if has_own_resolver => 1,
            true => 0,
            false => 4,
        }
    }

    fn firefox(&self) -> Step {
        let import = self.imports().step(
            "Firefox has its own list of authorities: <em>Settings</em>, <em>Privacy &amp; Security</em>, <em>View \
             Certificates</em>, <em>Authorities</em>, <em>Import</em>. Tick <em>Trust this CA to identify websites</em>.",
        );
        let suffix = self.about.below_suffix();
        Step {
            title: "Firefox",
            body: format!(
                "<ol>{import}<li>Open <em>Settings</em>, <em>Privacy &amp; Security</em>, <em>DNS over HTTPS</em>. Choose \
                 <em>Max Protection</em>, then <em>Custom</em>, and paste the address.</li></ol>\
                 <p class=\"note\">With a lower protection Firefox does not ask for a bare key, only for \
                 <code>www.&lt;key&gt;</code>{suffix}. For sites in your own network, or a bridge there, set \
                 <code>network.trr.allow-rfc1918</code> to true in <code>about:config</code>.</p>"
            ),
            rank: self.of_browser(Browser::Firefox),
        }
    }

    /// Chromium and its kin take the authorities of the system, except on Linux.
    fn import_into_system(&self) -> String {
        let how = match self.system {
            System::Windows => self.on_windows(),
            System::Mac => "The profile for Macs below brings the certificates along.".to_owned(),
            System::Linux => format!(
                "Then run the following in the folder of the download (<code>certutil</code> is in <code>libnss3-tools</code>), \
                 and start the browser again.{}",
                self.imports().commands(|file, label| {
                    format!("certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n {label} -i {file}")
                })
            ),
            _ => "Import the file as the section of your system below says. On Linux: <em>Settings</em>, <em>Privacy and \
                  security</em>, <em>Security</em>, <em>Manage certificates</em>."
                .to_owned(),
        };
        self.imports().step(&how)
    }

    fn on_windows(&self) -> String {
        format!(
            "Then run this in the folder of the download, and confirm.{}",
            self.imports().commands(|file, _| format!("certutil -user -addstore Root {file}"))
        )
    }

    fn chrome(&self) -> Step {
        let import = self.import_into_system();
        let suffix = match self.about.suffix.as_str() {
            "" => String::new(),
            suffix => format!(", or as <code>http://&lt;key&gt;.{suffix}/</code>"),
        };
        Step {
            title: "Chrome, Chromium, Brave",
            body: format!(
                "<ol>{import}<li>Open <em>Settings</em>, <em>Privacy and security</em>, <em>Security</em>, <em>Use secure \
                 DNS</em>. Choose <em>Add custom DNS service provider</em> and paste the address.</li></ol>\
                 <p class=\"note\">Write a bare key with a dot at its end, <code>http://&lt;key&gt;./</code>{suffix}: Chrome \
                 takes a name without a dot for a search.</p>"
            ),
            rank: self.of_browser(Browser::Chrome),
        }
    }

    fn edge(&self) -> Step {
        let import = self.import_into_system();
        Step {
            title: "Edge",
            body: format!(
                "<ol>{import}<li>Open <em>Settings</em>, <em>Privacy, search, and services</em>, <em>Security</em>, <em>Use \
                 secure DNS</em>. Choose <em>Choose a service provider</em> and paste the address.</li></ol>\
                 <p class=\"note\">Bare keys are written as in Chrome.</p>"
            ),
            rank: self.of_browser(Browser::Edge),
        }
    }

    fn apple(&self) -> Step {
        let trust = self.imports().named().map_or_else(String::new, |authorities| {
            format!(
                "<li>Open <em>Settings</em>, <em>General</em>, <em>About</em>, <em>Certificate Trust Settings</em>, and switch on \
                 {authorities}. The profile has brought what is needed, and it counts only from then on.</li>"
            )
        });
        Step {
            title: "iPhone, iPad",
            body: format!(
                "<p><a class=\"button\" href=\"/pkdns.mobileconfig\">Download the profile</a></p>\
                 <ol><li>Open <em>Settings</em>, tap <em>Profile Downloaded</em>, and install it.</li>{trust}</ol>\
                 <p class=\"note\">{}</p>",
                self.about_profile()
            ),
            rank: self.of_system(System::Apple),
        }
    }

    fn mac(&self) -> Step {
        let trust = match self.imports().are_any() {
            true => {
                "<li>If Safari still warns of a certificate, find its authority in <em>Keychain Access</em>, open <em>Trust</em>, and \
                 choose <em>Always Trust</em>.</li>"
            }
            false => "",
        };
        Step {
            title: "Mac",
            body: format!(
                "<p><a class=\"button\" href=\"/pkdns.mobileconfig\">Download the profile</a></p>\
                 <ol><li>Open it, then <em>System Settings</em>, <em>General</em>, <em>Device Management</em>, and install \
                 it.</li>{trust}</ol><p class=\"note\">{}</p>",
                self.about_profile()
            ),
            rank: self.of_system(System::Mac),
        }
    }

    fn about_profile(&self) -> String {
        let authorities = match self.imports().named() {
            Some(authorities) => format!("the certificate of {authorities}"),
            None => "nothing else".to_owned(),
        };
        format!("The profile holds the address above and {authorities}. It is not signed.")
    }

    fn windows(&self) -> Step {
        let import = self.imports().step(&self.on_windows());
        let (address, which) = self.address_in_command(|address| address.to_string());
        let doh = self.doh();
        let command = copyable(&format!(
            "netsh dns add encryption server={address} dohtemplate={doh} autoupgrade=yes udpfallback=no"
        ));
        Step {
            title: "Windows 11",
            body: format!(
                "<ol>{import}<li>Run this in a terminal of an administrator.{which}{command}</li>\
                 <li>Open <em>Settings</em>, <em>Network &amp; internet</em>, your network, <em>DNS server assignment</em>, \
                 <em>Edit</em>. Enter the IP address of this server, and choose <em>On (automatic template)</em>.</li></ol>"
            ),
            rank: self.of_system(System::Windows),
        }
    }

    fn android(&self) -> Option<Step> {
        let about = self.about;
        let convinces =
            |name: &str| about.tls_certificates.as_ref().is_some_and(|shown| shown.convinces_everybody(name));
        let advice = private_dns::advice(about.tls_port, &self.origin.host, &about.names, convinces);
        let in_browsers = match self.is_encrypted() {
            true => {
                let import = self.imports().step(
                    "Open <em>Settings</em>, <em>Security</em>, <em>Encryption &amp; credentials</em>, <em>Install a \
                     certificate</em>, <em>CA certificate</em>, and choose the file.",
                );
                format!(
                    "<ol>{import}<li>In Chrome: <em>Settings</em>, <em>Privacy and security</em>, <em>Use secure DNS</em>, \
                     <em>Choose another provider</em>, <em>Custom</em>. In Firefox: <em>Settings</em>, <em>DNS over HTTPS</em>, \
                     <em>Max Protection</em>. Paste the address.</li></ol>"
                )
            }
            false => String::new(),
        };
        let body = format!("{in_browsers}<p>For all apps: {advice}</p>");
        Some(Step { title: "Android", body, rank: self.of_system(System::Android) })
    }

    fn resolved(&self) -> Option<Step> {
        let port = self.about.tls_port?;
        let (address, which) = self.address_in_command(|address| match address {
            IpAddr::V6(address) => format!("[{address}]"),
            IpAddr::V4(address) => address.to_string(),
        });
        let import = match self.about.authorities.is_empty() {
            true => String::new(),
            false => format!(
                "<li><a href=\"/ca.pem\" download>Download the certificate</a> of this server's authority. Then run this in the \
                 folder of the download.{}</li>",
                copyable(
                    "sudo cp ca.pem /usr/local/share/ca-certificates/pkdns.crt\nsudo update-ca-certificates"
                )
            ),
        };
        let host = &self.origin.host;
        let lines = copyable(&format!(
            "[Resolve]\nDNS={address}:{port}#{host}\nDNSOverTLS=yes\nDomains=~.\nDNSSEC=no"
        ));
        let restart = copyable("sudo systemctl restart systemd-resolved");
        Some(Step {
            title: "Linux with systemd-resolved",
            body: format!(
                "<ol>{import}<li>Write this into <code>/etc/systemd/resolved.conf.d/pkdns.conf</code>.{which}{lines}</li>\
                 <li>{restart}</li></ol>"
            ),
            rank: self.of_system(System::Linux),
        })
    }

    /// Commands that work as they stand.
    pub(super) fn programs(&self) -> String {
        let Origin { host, port, .. } = self.origin;
        let (origin, doh, example) = (self.origin.url(), self.doh(), &self.about.example);
        let is_own = self.is_encrypted() && !self.about.authorities.is_empty();
        let cacert = if is_own { "--cacert ca.pem " } else { "" };
        let mut commands = vec![format!("curl {cacert}'{origin}/resolve?name={example}&amp;type=TXT'")];
        if self.is_encrypted() {
            let name = self.about.example_host();
            commands.push(format!("curl {cacert}--doh-url {doh} http://{name}/"));
        }
        let at_port = |port: &str| format!("-p {port} ");
        let (transport, is_tls) = match (self.about.tls_port, self.is_encrypted()) {
            (Some(port), _) => (at_port(&port.to_string()) + "+tls", true),
            (None, encrypted) => {
                let plain = if encrypted { "" } else { " +http-plain" };
                (port.as_deref().map_or_else(String::new, at_port) + "+https" + plain, encrypted)
            }
        };
        let verified = match is_tls && !self.about.authorities.is_empty() {
            true => format!(" +tls-ca=ca.pem +tls-hostname={host}"),
            false => String::new(),
        };
        commands.push(format!("dig @{host} {transport}{verified} {example} TXT"));
        let commands: String = commands.iter().map(|command| copyable(command)).collect();
        let before = match is_own {
            true => {
                "<p class=\"note\">They want the <a href=\"/ca.pem\" download>certificate of this server's authority</a> as \
                     <code>ca.pem</code>.</p>"
            }
            false => "",
        };
        format!("{before}{commands}")
    }
}
