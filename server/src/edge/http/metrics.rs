//! `GET /metrics`.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing,
};

use crate::base::metrics::{CONTENT_TYPE, Metrics};

/// The metrics, and for every other path a line that says where they are.
pub fn metrics_routes(metrics: Metrics) -> Router {
    Router::new()
        .route("/metrics", routing::get(page))
        .fallback((StatusCode::NOT_FOUND, "There is nothing here. The metrics are at /metrics\n"))
        .with_state(metrics)
}

async fn page(State(metrics): State<Metrics>) -> Response {
    match metrics.encode() {
        Ok(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
