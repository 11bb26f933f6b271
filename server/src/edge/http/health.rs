//! `/healthz` and `/readyz`: for load balancers, and for whatever starts and stops servers.

use std::{fmt, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderMap, Method, Request, Response, StatusCode, header},
    response::IntoResponse,
};

use crate::edge::status::Readiness;

const HEALTH_PATH: &str = "/healthz";
const READY_PATH: &str = "/readyz";

/// Tells whether the server is there and ready. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    /// Whether it is ready, and if all has to be there, or what is wanted at least.
    read: Arc<dyn Fn(bool) -> Readiness + Send + Sync>,
    /// Whether those who are served read what is missing.
    tells_reasons: bool,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("tells_reasons", &self.tells_reasons).finish_non_exhaustive()
    }
}

impl Health {
    /// `read` says whether the server is ready; its argument is whether all has to be there.
    pub fn new(read: impl Fn(bool) -> Readiness + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), tells_reasons: false }
    }

    /// Tells those who are served what is missing. Others read `ready` or `not ready` and nothing else.
    #[must_use]
    pub fn with_reasons(self) -> Self {
        Self { tells_reasons: true, ..self }
    }

    /// The answer to a request for one of the two paths.
    pub(super) fn answer<B>(&self, request: &Request<B>, is_served: bool) -> Option<Response<Body>> {
        let path = request.uri().path();
        if !is_health_path(path) {
            return None;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Some((StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response());
        }
        let readiness = (self.read)(wants_all(request.uri().query()));
        let (is_well, word) = match path {
            HEALTH_PATH => (!readiness.is_stopping, if readiness.is_stopping { "stopping" } else { "ok" }),
            _ => (readiness.is_ready(), if readiness.is_ready() { "ready" } else { "not ready" }),
        };
        let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let fresh = [(header::CACHE_CONTROL, "no-store")];
        if path == HEALTH_PATH || !self.tells_reasons || !is_served {
            return Some((status, fresh, format!("{word}\n")).into_response());
        }
        if likes_json(request.headers())
            && let Ok(json) = serde_json::to_string(&readiness)
        {
            let kind = [(header::CONTENT_TYPE, "application/json")];
            return Some((status, fresh, kind, json + "\n").into_response());
        }
        let reasons: String = readiness.missing.iter().map(|reason| format!("- {reason}\n")).collect();
        Some((status, fresh, format!("{word}\n{reasons}")).into_response())
    }
}

/// Whether a path is one of those that everybody may ask for.
pub(super) fn is_health_path(path: &str) -> bool {
    matches!(path, HEALTH_PATH | READY_PATH)
}

/// `?all`, with whatever value but 0.
fn wants_all(query: Option<&str>) -> bool {
    let mut parameters = query.into_iter().flat_map(|query| query.split('&'));
    parameters.any(|parameter| match parameter.split_once('=') {
        Some((name, value)) => name == "all" && value != "0",
        None => parameter == "all",
    })
}

fn likes_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(',')).filter_map(|kind| kind.split(';').next());
    types.any(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn answer(readiness: Readiness, reasons: bool, is_served: bool, request: &str) -> (u16, String) {
        let (path, accept) = request.split_once(' ').unwrap_or((request, "*/*"));
        let mut health = Health::new(move |all| {
            let mut readiness = readiness.clone();
            readiness.missing.retain(|reason| all || !reason.starts_with("only"));
            readiness
        });
        if reasons {
            health = health.with_reasons();
        }
        let request = Request::get(path).header(header::ACCEPT, accept).body(()).unwrap();
        let response = health.answer(&request, is_served).unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn strangers_learn_one_word_and_those_who_look_at_metrics_the_reasons() {
        let missing = |reasons: &[&str]| Readiness {
            missing: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
            is_stopping: false,
        };
        let broken = missing(&["the DHT has not answered"]);
        let said = |status, text: &str| (status, text.to_owned());
        assert_eq!(answer(broken.clone(), false, true, "/readyz").await, said(503, "not ready\n"));
        assert_eq!(answer(broken.clone(), true, false, "/readyz").await, said(503, "not ready\n"));
        let reasons = "not ready\n- the DHT has not answered\n";
        assert_eq!(answer(broken.clone(), true, true, "/readyz").await, said(503, reasons));
        assert_eq!(answer(broken, false, true, "/healthz").await, said(200, "ok\n"));
        assert_eq!(answer(missing(&[]), true, true, "/readyz").await, said(200, "ready\n"));
        let json = "{\"ready\":false,\"stopping\":false,\"missing\":[\"it is dark\"]}\n";
        let dark = missing(&["it is dark"]);
        assert_eq!(answer(dark, true, true, "/readyz application/json").await, said(503, json));
    }

    #[tokio::test]
    async fn all_is_wanted_by_name() {
        let some = Readiness { missing: vec!["only with all".into()], is_stopping: false };
        for (path, status) in
            [("/readyz", 200), ("/readyz?all", 503), ("/readyz?x=1&all=1", 503), ("/readyz?all=0", 200)]
        {
            assert_eq!(answer(some.clone(), false, false, path).await.0, status, "{path}");
        }
    }

    #[tokio::test]
    async fn a_server_that_stops_is_neither_well_nor_ready() {
        let stopping = Readiness { missing: Vec::new(), is_stopping: true };
        assert_eq!(answer(stopping.clone(), false, false, "/healthz").await.0, 503);
        assert_eq!(answer(stopping, false, false, "/readyz").await.0, 503);
    }

    #[test]
    fn other_paths_are_for_others_and_nothing_can_be_written() {
        let health = Health::new(|_| Readiness::default());
        assert!(health.answer(&Request::get("/readyzz").body(()).unwrap(), true).is_none());
        let refused = health.answer(&Request::post("/readyz").body(()).unwrap(), true).unwrap();
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
