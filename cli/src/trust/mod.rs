//! `trust`: puts the authorities of a server where the browsers and the other programs of this machine look for them.

mod change;
mod firefox_profiles;
mod name;
mod nss;
mod source;
mod store;
mod system_store;

use std::{env, path::PathBuf, time::SystemTime};

use clap::{Args, Subcommand};
use pkdns::edge::certificates::AuthorityReading;
use serde::Serialize;

use crate::{
    failure::Failure,
    terminal::{self, printable, quoted},
};
use change::{Changes, Planned};
use name::{StoredName, fingerprint, hex};
pub(crate) use source::{DIRECTORY, certificates_of};
use source::{Found, Place, certain, place, read, usual};
use store::{Part, Store};

/// Let this machine believe the authorities of a pkdns, or stop it
///
/// A pkdns may have two authorities of its own: that of the bridge, which signs for names under keys alone, and that of its own
/// HTTPS and DNS over TLS. This shows them, puts their certificates into the store of the system and those of the browsers of
/// this user, and takes them away again. Their keys are never read.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the authorities of a server, and where they are installed
    ///
    /// What they may sign for, until when, and their fingerprints.
    Show(ShowArguments),
    /// Let this machine and this user's browsers believe the authorities of a server
    ///
    /// Their certificates are put into the store of the system and into those of the browsers. That of the system needs root;
    /// without it, the command is printed. Browsers look at their stores when they start.
    Install(InstallArguments),
    /// Take away what install has put there, of any server unless one is named
    Remove(RemoveArguments),
}

#[derive(Args)]
struct ShowArguments {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    stores: StoreArguments,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct InstallArguments {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    stores: StoreArguments,
    /// Only the authority with this SHA-256 fingerprint; repeat it for more
    ///
    /// With or without colons.
    #[arg(long, value_name = "HEX", value_parser = fingerprint)]
    fingerprint: Vec<String>,
    /// Also an authority that may sign for any name on the Internet
    ///
    /// Whoever steals its key can pose as any site to this machine.
    #[arg(long)]
    unconstrained: bool,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
struct RemoveArguments {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    stores: StoreArguments,
    /// Only the authority whose SHA-256 fingerprint begins so; repeat it for more
    #[arg(long, value_name = "HEX", value_parser = fingerprint, conflicts_with = "server")]
    fingerprint: Vec<String>,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
struct SourceArguments {
    /// Directory of the server, a PEM file, or https://HOST [default: ~/.pkdns]
    ///
    /// https://HOST is where the pages of the server are.
    #[arg(long, visible_alias = "pkdns-dir", value_name = "PLACE", value_parser = place)]
    server: Option<Place>,
}

#[derive(Args)]
struct StoreArguments {
    /// Only the store of the system, or only those of browsers
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// Another profile of Firefox or directory of NSS; repeat it for more
    ///
    /// Besides those that are found.
    #[arg(long, value_name = "DIR")]
    nss: Vec<PathBuf>,
}

#[derive(Args)]
struct OutputArguments {
    /// Say what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// What is shown of one authority.
#[derive(Serialize)]
struct Shown {
    subject: String,
    from: String,
    /// Whether nobody can have replaced it on the way to us.
    certain: bool,
    /// In words.
    may_sign_for: String,
    constrained: bool,
    /// Seconds since 1970.
    valid_from: u64,
    valid_to: u64,
    valid_until: String,
    sha256: String,
    installed_in: Vec<String>,
}

/// The stores of this machine and user that somebody reads, and the certificates in PEM that are believed there, as far as they
/// may be of a pkdns. Blocks.
pub(crate) fn believed() -> Vec<(String, Result<Vec<u8>, String>)> {
    let stores = store::find(env::home_dir().as_deref(), &[], None).into_iter();
    stores.filter(|store| !store.is_idle()).map(|store| (store.place(), store.believed())).collect()
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.action {
        Action::Show(arguments) => show(arguments),
        Action::Install(arguments) => install(arguments),
        Action::Remove(arguments) => remove(arguments),
    }
}

impl StoreArguments {
    fn find(&self) -> Vec<Box<dyn Store>> {
        store::find(env::home_dir().as_deref(), &self.nss, self.only)
    }
}

impl OutputArguments {
    fn planned(&self) -> Planned {
        if self.dry_run { Planned::Only } else { Planned::Done }
    }
}

/// The same for the store of the system alone, by whoever may change that.
fn as_root(action: &str, arguments: &str) -> String {
    let program = env::current_exe()
        .map_or_else(|_| "pkdns-cli".to_owned(), |path| quoted(&path.display().to_string()));
    format!("sudo {program} trust {action} --only system{arguments}")
}

fn show(arguments: &ShowArguments) -> Result<(), Failure> {
    let found = read(arguments.source.server.as_ref())?;
    let stores = arguments.stores.find();
    let shown: Vec<_> = found.iter().map(|found| Shown::of(found, &stores)).collect();
    if arguments.json {
        return terminal::print_json(&serde_json::json!({ "authorities": shown }));
    }
    terminal::print(&shown.iter().map(Shown::text).collect::<Vec<_>>().join("\n"))
}

fn install(arguments: &InstallArguments) -> Result<(), Failure> {
    let found = certain(read(arguments.source.server.as_ref())?, &arguments.fingerprint)?;
    let mut refusals = Vec::new();
    let mut accepted: Vec<AuthorityReading> = Vec::new();
    for Found { authority, from, .. } in found {
        match refusal(&authority, arguments.unconstrained, SystemTime::now()) {
            Some(why) => refusals.push(format!("{} ({from}) {why}", printable(&authority.subject))),
            None if accepted.contains(&authority) => {}
            None => accepted.push(authority),
        }
    }
    let place = arguments.source.server.clone().unwrap_or_else(usual);
    let chosen = arguments.fingerprint.iter().map(|digits| format!(" --fingerprint {digits}"));
    let open = if arguments.unconstrained { " --unconstrained" } else { "" };
    let as_root = as_root("install", &format!(" --server {place}{}{open}", chosen.collect::<String>()));
    let mut changes = Changes::new(arguments.output.planned(), as_root);
    for authority in &accepted {
        let range = authority.constraints.as_ref().map_or_else(|| "any name".to_owned(), ToString::to_string);
        terminal::note(&format!("{} may sign for {}", printable(&authority.subject), printable(&range)));
    }
    if !accepted.is_empty() {
        for store in arguments.stores.find() {
            changes.install(&*store, &accepted);
        }
    }
    report(&changes, arguments.output.json, &refusals)
}

/// Why an authority is not put into a store.
fn refusal(authority: &AuthorityReading, may_be_unconstrained: bool, now: SystemTime) -> Option<String> {
    if !authority.is_authority {
        return Some(
            "is the certificate of a server and not of an authority: name ca.pem or bridge-ca.pem".to_owned(),
        );
    }
    if authority.to <= now {
        return Some("is not valid any more: start pkdns, which makes it anew".to_owned());
    }
    (authority.constraints.is_none() && !may_be_unconstrained).then(|| {
        "may sign for any name: whoever steals its key can pose as any site on the Internet to this machine. An earlier \
         release of pkdns made it so; on the server remove ca.pem, and start pkdns again to have one made that cannot. Or \
         say --unconstrained"
            .to_owned()
    })
}

fn remove(arguments: &RemoveArguments) -> Result<(), Failure> {
    let of_server = match &arguments.source.server {
        Some(place) => {
            Some(read(Some(place))?.iter().map(|found| StoredName::of(&found.authority)).collect::<Vec<_>>())
        }
        None => None,
    };
    let fingerprints = &arguments.fingerprint;
    let is_meant = |name: &StoredName| match &of_server {
        Some(names) => names.contains(name),
        None => fingerprints.is_empty() || fingerprints.iter().any(|meant| name.is_meant_by(meant)),
    };
    let place = arguments.source.server.iter().map(|place| format!(" --server {place}"));
    let chosen = place.chain(fingerprints.iter().map(|digits| format!(" --fingerprint {digits}")));
    let as_root = as_root("remove", &chosen.collect::<String>());
    let mut changes = Changes::new(arguments.output.planned(), as_root);
    for store in arguments.stores.find() {
        changes.remove(&*store, is_meant);
    }
    report(&changes, arguments.output.json, &[])
}

fn report(changes: &Changes, json: bool, refusals: &[String]) -> Result<(), Failure> {
    if json {
        let planned = changes.planned == Planned::Only;
        terminal::print_json(&serde_json::json!({
            "dry_run": planned, "changes": changes.list, "refused": refusals,
        }))?;
    } else if !changes.list.is_empty() {
        terminal::print(&changes.text())?;
    }
    let failed = changes.failures();
    if !refusals.is_empty() {
        return Err(Failure::Failed(refusals.join("\n")));
    }
    match (failed, changes.list.is_empty()) {
        (0, true) => {
            terminal::note("there is nothing to change");
            Ok(())
        }
        (0, false) => Ok(()),
        (1, _) => Err(Failure::Failed("one change failed: the line below it says what to do".to_owned())),
        (failed, _) => Err(Failure::Failed(format!(
            "{failed} changes failed: the line below each of them says what to do"
        ))),
    }
}

impl Shown {
    fn of(found: &Found, stores: &[Box<dyn Store>]) -> Self {
        let authority = &found.authority;
        let seconds =
            |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let name = StoredName::of(authority);
        let installed = stores.iter().filter(|store| store.holds(&name, authority).unwrap_or(false));
        Self {
            subject: printable(&authority.subject),
            from: printable(&found.from),
            certain: found.is_certain,
            may_sign_for: match &authority.constraints {
                Some(constraints) => printable(&constraints.to_string()),
                None => "any name on the Internet".to_owned(),
            },
            constrained: authority.constraints.is_some(),
            valid_from: seconds(authority.from),
            valid_to: seconds(authority.to),
            valid_until: httpdate::fmt_http_date(authority.to),
            sha256: hex(&authority.fingerprint),
            installed_in: installed.map(|store| store.place()).collect(),
        }
    }

    fn text(&self) -> String {
        let colons: Vec<_> = self.sha256.as_bytes().chunks(2).map(String::from_utf8_lossy).collect();
        let installed = match &self.installed_in[..] {
            [] => "nowhere on this machine; pkdns-cli trust install puts it where programs look".to_owned(),
            places => places.join("\n                 "),
        };
        let doubt = match self.certain {
            true => "",
            false => "  Not verified:  compare the fingerprint with what this command prints on the server\n",
        };
        format!(
            "{}\n  From:          {}\n{doubt}  May sign for:  {}\n  Valid until:   {}\n  SHA-256:       {}\n  \
             Installed in:  {installed}\n",
            self.subject,
            self.from,
            self.may_sign_for,
            self.valid_until,
            colons.join(":").to_uppercase()
        )
    }
}
