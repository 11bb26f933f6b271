//! What people see who open the address of the server.

use axum::{Router, http::StatusCode, routing};

/// The pages beside the answers.
pub fn pages() -> Router {
    Router::new()
        .route("/", routing::get(|| async { "pkdns\n" }))
        .fallback((StatusCode::NOT_FOUND, "There is nothing here. / says what this server is for.\n"))
}
