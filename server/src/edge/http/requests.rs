//! The requests of one connection, and what their responses count for.

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use axum::http::{self, HeaderValue, Request, Response, header};
use futures_util::future::{BoxFuture, Either, Ready, ready};
use hyper::{body::Incoming, service::Service};
use tokio_util::sync::CancellationToken;

use super::{Begun, Refusal, Site, SiteBody, activity::Activity, connection::Origin};
use crate::service::Respond;

/// The requests of one connection, as hyper hands them over.
pub(super) struct Requests<R> {
    site: Arc<Site<R>>,
    origin: Origin,
    activity: Arc<Activity>,
    /// Cancelled when the connection is to end after the response that comes next.
    leaving: CancellationToken,
}

impl<R> Requests<R> {
    pub(super) fn new(
        site: Arc<Site<R>>,
        origin: Origin,
        activity: Arc<Activity>,
        leaving: CancellationToken,
    ) -> Self {
        Self { site, origin, activity, leaving }
    }
}

impl<R: Respond> Service<Request<Incoming>> for Requests<R> {
    type Response = Response<SiteBody>;
    type Error = Infallible;
    type Future = Either<
        Ready<Result<Self::Response, Infallible>>,
        BoxFuture<'static, Result<Self::Response, Infallible>>,
    >;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = self.activity.under_way();
        let is_stream = request.version() == http::Version::HTTP_2;
        let site = self.site.clone();
        let watched = Watched {
            site: site.clone(),
            client: self.origin.peer,
            activity: self.activity.clone(),
            leaving: (!is_stream).then(|| self.leaving.clone()),
        };
        // What waits is kept small: only the body of a question is, and all of a request for a page.
        match site.begin(self.origin, &request) {
            Begun::Answered(response) => Either::Left(ready(Ok(watched.response(response)))),
            Begun::Dns(waiting) => {
                let Some(leave) = site.leave(waiting.client()) else { return watched.refuse() };
                let body = request.into_body();
                Either::Right(Box::pin(async move {
                    let _under_way = (under_way, leave);
                    let response = site.answer(waiting, body);
                    Ok(watched.response(if is_stream {
                        response.await
                    } else {
                        site.in_time(response).await
                    }))
                }))
            }
            Begun::Page(visitor) => {
                let Some(leave) = site.leave(visitor.address) else { return watched.refuse() };
                Either::Right(Box::pin(async move {
                    let _under_way = (under_way, leave);
                    let response = site.page(visitor, request);
                    Ok(watched.response(if is_stream {
                        response.await
                    } else {
                        site.in_time(response).await
                    }))
                }))
            }
        }
    }
}

/// Makes responses count, in the budget and on their connection.
struct Watched<R> {
    site: Arc<Site<R>>,
    client: IpAddr,
    activity: Arc<Activity>,
    /// For HTTP/1, where a response says whether it is the last.
    leaving: Option<CancellationToken>,
}

impl<R: Respond> Watched<R> {
    /// A client for which not even a refusal may be held loses its connection.
    fn response(&self, mut response: Response<SiteBody>) -> Response<SiteBody> {
        if self.leaving.as_ref().is_some_and(CancellationToken::is_cancelled) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let untaken = self.activity.untaken();
        if response.body().is_counted() {
            return response.map(|body| body.with(untaken));
        }
        let leave = self.site.leave(self.client);
        if leave.is_none() {
            self.activity.spend();
        }
        response.map(|body| body.with((untaken, leave)))
    }

    fn refuse(&self) -> <Requests<R> as Service<Request<Incoming>>>::Future {
        Either::Left(ready(Ok(self.response(Refusal::Held.response()))))
    }
}
