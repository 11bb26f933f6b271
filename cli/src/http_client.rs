//! Single requests to the web servers of others.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header::USER_AGENT};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use pkdns::{
    edge::certificates::{trusting_anyone, trusting_only},
    sources::{
        connector::{Connector, cause},
        forward::TlsClient,
    },
};
use pkdns_dht::HostResolver;

use crate::{failure::Failure, terminal::printable};

/// Makes a connection for each request: what a server says may change while a connection stays.
#[derive(Clone)]
pub(crate) struct HttpClient(Client<Connector, Empty<Bytes>>);

impl HttpClient {
    /// Certificates have to be signed by the authorities of `tls`.
    pub(crate) fn new(tls: &TlsClient, resolver: HostResolver) -> Self {
        Self::over(Connector::new((*tls.for_tls()).clone(), resolver))
    }

    /// Whoever may answer is taken for the server: what it says has to be verified in another way.
    ///
    /// # Errors
    ///
    /// Only if the TLS library refuses its own defaults.
    pub(crate) fn of_anyone(resolver: HostResolver) -> Result<Self, Failure> {
        let tls = trusting_anyone().map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Self::over(Connector::new(tls, resolver)))
    }

    /// Certificates have to be signed by this authority, whose own is given in DER.
    ///
    /// # Errors
    ///
    /// Only if the TLS library refuses its own defaults.
    pub(crate) fn of_authority(authority: &[u8], resolver: HostResolver) -> Result<Self, Failure> {
        let tls = trusting_only(authority).map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Self::over(Connector::new(tls, resolver)))
    }

    fn over(connector: Connector) -> Self {
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
    }

    /// What a page says, which has at most so many bytes. Without a deadline.
    ///
    /// # Errors
    ///
    /// For people.
    pub(crate) async fn page(&self, uri: Uri, limit: usize) -> Result<(StatusCode, Bytes), String> {
        let response = self.request(Method::GET, uri).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limit).collect().await;
        Ok((status, body.map_err(|error| printable(&error.to_string()))?.to_bytes()))
    }

    /// Without a deadline and a bound on the body, and without following where the response leads.
    ///
    /// # Errors
    ///
    /// For people: what lies at the bottom of an error, which says more than its top.
    pub(crate) async fn request(&self, method: Method, uri: Uri) -> Result<Response<Incoming>, String> {
        let request = Request::builder().method(method).uri(uri).header(USER_AGENT, "pkdns-cli");
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        self.0.request(request).await.map_err(|error| printable(&cause(&error).to_string()))
    }
}

/// The address of a page.
pub(crate) fn web_address(text: &str) -> Result<Uri, String> {
    let uri = text.parse().ok();
    let is_web = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some_and(|host| !host.is_empty())
    };
    uri.filter(is_web).ok_or_else(|| "expected https://HOST/PATH".to_string())
}
