//! Keeps the certificate of one site: obtained when there is none, renewed in time, and shown to whoever serves the site.

use std::{
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use pkdns::{
    edge::certificates::acme::{
        AcmeAuthority, AcmeError, Challenge, LONGEST_SLEEP, Proof, Prover, Showing, time_left, wait_after,
    },
    metrics::CertificateReading,
};
use tokio::{
    sync::Semaphore,
    time::{error::Elapsed, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    doors::{Door, Doors, InWebroot},
    files::{Files, Issued},
    names::SiteNames,
    preflight,
    records::{self, Extras, Records},
    reload,
};
use crate::{
    failure::Failure,
    name_servers::{NameServer, Resolvers},
    terminal,
};

/// How long an order may take, with the time that name servers are waited for.
const ORDER_DEADLINE: Duration = Duration::from_secs(600);

/// How long what an order has shown may take to be taken away.
const CLEANING_DEADLINE: Duration = Duration::from_secs(60);

/// A site and how its certificate is come by.
pub(crate) struct Site {
    pub(crate) names: SiteNames,
    pub(crate) files: Files,
    pub(crate) issued: Issued,
    pub(crate) authority: Arc<AcmeAuthority>,
    pub(crate) challenge: Challenge,
    /// Where http-01 and tls-alpn-01 are answered; none for the usual port on all addresses.
    pub(crate) listen: Vec<SocketAddr>,
    /// The directory of a web server that answers http-01.
    pub(crate) webroot: Option<PathBuf>,
    /// The command that makes another program take the certificate.
    pub(crate) reload: Option<String>,
    /// Who finds the name servers of the origin, if not the system's resolver.
    pub(crate) resolver: Option<SocketAddr>,
    /// Name servers of the origin, where they are not to be found out.
    pub(crate) name_servers: Vec<SocketAddr>,
    pub(crate) doors: Doors,
    pub(crate) records: Records,
    /// Orders at once, of all sites.
    pub(crate) permits: Arc<Semaphore>,
    /// Cancelled when an order is to be given up, and what it has shown to be taken away.
    pub(crate) stop: CancellationToken,
}

/// What happens to it.
pub(crate) enum Event<'a> {
    /// It is there, and is renewed after this time.
    Held(&'a CertificateReading, Duration),
    /// There is a new one.
    New(&'a CertificateReading),
    /// Whoever serves the site has been told of it.
    Reloaded,
    /// There is none, or nobody could be told of it; that is tried again after this time.
    Failed(&'a Failure, Duration),
}

/// Why there is no new certificate, and before when there will be none.
struct Refusal {
    failure: Failure,
    not_before: Option<SystemTime>,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { failure, not_before: None }
    }
}

impl Site {
    /// How long until it is to be renewed: no time where there is none, or one for other names.
    pub(crate) fn left(&self, held: Option<&CertificateReading>) -> Duration {
        time_left(held, self.names.all(), SystemTime::now())
    }

    /// Takes away what an earlier run was kept from taking away. That is no reason to go without a certificate.
    pub(crate) async fn clean(&self) {
        let cleaned = timeout(CLEANING_DEADLINE, self.records.clean()).await;
        if let Some(why) = why_not(cleaned) {
            terminal::note(&format!(
                "warning: the challenge of an earlier order may still be in the packet ({why})"
            ));
        }
    }

    /// Obtains a certificate now, and keeps it.
    pub(crate) async fn obtain(&self) -> Result<CertificateReading, Failure> {
        self.try_to_obtain().await.map_err(|refusal| refusal.failure)
    }

    /// Tells whoever serves the site, if that is wanted and has not been done.
    pub(crate) async fn tell(&self) -> Result<bool, Failure> {
        let Some(command) = self.reload.as_ref().filter(|_| self.files.is_untold()) else { return Ok(false) };
        terminal::progress("running the reload command…");
        reload::run(command, &self.files, &self.names).await?;
        self.files.told();
        Ok(true)
    }

    /// Goes on until it is stopped, or `report` says that a failure is one to give up for.
    pub(crate) async fn keep(
        &self,
        mut report: impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (mut failures, mut told) = (0, None);
        loop {
            let pause = match self.step(&mut told, &mut report).await {
                Ok(left) => {
                    failures = 0;
                    left.min(LONGEST_SLEEP)
                }
                Err(_) if self.stop.is_cancelled() => return Ok(()),
                Err(refusal) => {
                    let wait = wait_after(failures, refusal.not_before, SystemTime::now());
                    failures = failures.saturating_add(1);
                    report(Event::Failed(&refusal.failure, wait))?;
                    wait
                }
            };
            if self.stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Sees to it that there is a certificate that somebody knows of. How long that lasts.
    async fn step(
        &self,
        told: &mut Option<CertificateReading>,
        report: &mut impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<Duration, Refusal> {
        self.clean().await;
        let mut held = match self.issued.keep_in(&self.files)? {
            Some(new) => {
                report(Event::New(&new))?;
                Some(new)
            }
            None => self.files.held()?,
        };
        if self.left(held.as_ref()).is_zero() {
            let new = self.try_to_obtain().await?;
            report(Event::New(&new))?;
            held = Some(new);
        }
        if self.tell().await? {
            report(Event::Reloaded)?;
        }
        let left = self.left(held.as_ref());
        match held {
            Some(held) if !left.is_zero() => {
                if told.as_ref() != Some(&held) {
                    report(Event::Held(&held, left))?;
                    *told = Some(held);
                }
                Ok(left)
            }
            _ => Err(Failure::Failed(AcmeError::DueAtOnce.to_string()).into()),
        }
    }

    async fn try_to_obtain(&self) -> Result<CertificateReading, Refusal> {
        let Ok(_permit) = self.permits.acquire().await else {
            return Err(Failure::Failed("pkdns-cli is stopping".to_string()).into());
        };
        self.files.probe()?;
        terminal::progress("looking at the origin…");
        let servers = self.servers().await?;
        preflight::check(&self.names, &servers, self.challenge != Challenge::Dns01).await?;
        let attempt =
            Attempt { site: self, servers: &servers, shown: Mutex::default(), failure: Mutex::default() };
        attempt.open_doors().await?;
        let ordering = self.authority.obtain(self.names.all(), self.challenge, &attempt);
        let outcome = self.stop.run_until_cancelled(timeout(ORDER_DEADLINE, ordering)).await;
        let own_failure = attempt.end().await;
        let Some(outcome) = outcome else {
            return Err(Failure::Failed("stopped before the certificate was there".to_string()).into());
        };
        let new = match outcome.unwrap_or(Err(AcmeError::Deadline(ORDER_DEADLINE))) {
            Ok(new) => new,
            Err(error) => {
                let not_before = error.not_before();
                let failure = own_failure.unwrap_or_else(|| {
                    let (name, authority) = (self.names.apex(), &self.authority);
                    Failure::Failed(terminal::printable(&format!(
                        "no certificate for {name} from {authority}: {error}"
                    )))
                });
                return Err(Refusal { failure, not_before });
            }
        };
        self.issued.hold(new);
        match self.issued.keep_in(&self.files)? {
            Some(reading) => Ok(reading),
            None => Err(Failure::Failed(
                "the new certificate has been removed again: see what else writes to its directory"
                    .to_string(),
            )
            .into()),
        }
    }

    /// The name servers of the origin. Where they cannot be found out, dns-01 is of no use, and others may work.
    async fn servers(&self) -> Result<Vec<NameServer>, Failure> {
        if !self.name_servers.is_empty() {
            return Ok(self.name_servers.iter().copied().map(NameServer::at).collect());
        }
        let zone = self.names.zone();
        let found = async { Resolvers::new(self.resolver)?.name_servers(&zone).await };
        match found.await {
            Err(failure) if self.challenge != Challenge::Dns01 => {
                terminal::note(&format!("warning: {failure}"));
                Ok(Vec::new())
            }
            found => found,
        }
    }
}

/// One order, and what is shown for it.
struct Attempt<'a> {
    site: &'a Site,
    servers: &'a [NameServer],
    shown: Mutex<Shown>,
    /// What went wrong on our side.
    failure: Mutex<Option<Failure>>,
}

/// What is taken away afterwards.
#[derive(Default)]
struct Shown {
    // Before the doors on which it is shown.
    showings: Vec<Showing>,
    doors: Vec<Arc<Door>>,
    webroot: InWebroot,
    records: Extras,
}

impl Prover for Attempt<'_> {
    async fn show(&self, proofs: &[Proof]) -> Result<(), String> {
        let shown = match self.site.challenge {
            Challenge::Dns01 => self.show_records(proofs).await,
            Challenge::Http01 if self.site.webroot.is_some() => self.show_files(proofs),
            Challenge::Http01 | Challenge::TlsAlpn01 => self.show_at_doors(proofs).await,
        };
        shown.map_err(|failure| {
            let text = failure.to_string();
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            text
        })
    }

    fn note(&self, step: &str) {
        terminal::progress(&format!("{step}…"));
    }
}

impl Attempt<'_> {
    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn show_records(&self, proofs: &[Proof]) -> Result<(), Failure> {
        let (extras, wanted) = records::of(&self.site.names, proofs)?;
        // Before they go out, so that they are taken out again unless this process is killed. Then the next run does it.
        self.shown().records.clone_from(&extras);
        terminal::progress("publishing the challenge in the packet…");
        self.site.records.show(&extras).await?;
        terminal::progress("waiting until every name server of the origin shows it…");
        records::wait(self.servers, &wanted).await
    }

    fn show_files(&self, proofs: &[Proof]) -> Result<(), Failure> {
        let Some(root) = &self.site.webroot else { return Ok(()) };
        let mut shown = self.shown();
        for proof in proofs {
            shown.webroot.add(root, proof).map_err(|error| {
                let root = crate::seed::FileName::of(root);
                Failure::Failed(format!(
                    "no challenge can be put below {root}: {error}; name a directory that the web server serves at / and \
                     that this user may write to"
                ))
            })?;
        }
        Ok(())
    }

    /// Before anything is ordered: a port that is taken is no failure that the authority has to count.
    async fn open_doors(&self) -> Result<(), Failure> {
        let port = match self.site.challenge {
            Challenge::Http01 if self.site.webroot.is_some() => return Ok(()),
            Challenge::Http01 => 80,
            Challenge::TlsAlpn01 => 443,
            Challenge::Dns01 => return Ok(()),
        };
        let everywhere = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))];
        let addresses = if self.site.listen.is_empty() { &everywhere[..] } else { &self.site.listen };
        for address in addresses {
            let door = self.site.doors.open(*address, self.site.challenge).await.map_err(Failure::Failed)?;
            self.shown().doors.push(door);
        }
        Ok(())
    }

    async fn show_at_doors(&self, proofs: &[Proof]) -> Result<(), Failure> {
        let challenges: Vec<_> = self.shown().doors.iter().map(|door| door.challenges()).collect();
        for challenges in challenges {
            let showing = Showing::new(challenges, self.site.challenge);
            showing.show(proofs).await.map_err(Failure::Failed)?;
            self.shown().showings.push(showing);
        }
        Ok(())
    }

    /// Takes away what was shown. Returns what went wrong on our side.
    async fn end(self) -> Option<Failure> {
        let Shown { records, .. } = self.shown.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !records.is_empty() {
            let hidden = timeout(CLEANING_DEADLINE, self.site.records.hide(&records)).await;
            if let Some(why) = why_not(hidden) {
                terminal::note(&format!(
                    "warning: the challenge is still in the packet ({why}); it goes when this is run again or the zone is \
                     published again"
                ));
            }
        }
        self.failure.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why something was not taken away in time.
fn why_not(outcome: Result<Result<(), Failure>, Elapsed>) -> Option<String> {
    match outcome {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure.to_string()),
        Err(_) => Some("that took too long".to_string()),
    }
}
