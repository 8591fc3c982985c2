//! The audit log: a line for each request that changed anything.

use actix_web::body::BoxBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::Method;
use actix_web::{HttpMessage, HttpRequest};

/// The changes of a request so far.
#[derive(Default)]
struct Changes {
    what: Vec<String>,
    whom: String,
}

/// Notes a change as soon as it is made: what, and which user's.
pub(super) fn note(request: &HttpRequest, what: impl Into<String>, whom: impl Into<String>) {
    let mut extensions = request.extensions_mut();
    let mut changes = extensions.remove::<Changes>().unwrap_or_default();
    changes.what.push(what.into());
    changes.whom = whom.into();
    extensions.insert(changes);
}

/// Logs the changes of a request and who made them, if there are any.
pub(super) fn log(response: &ServiceResponse<BoxBody>, by: &'static str) {
    let request = response.request();
    let noted = request.extensions_mut().remove::<Changes>();
    let may_change = !matches!(*request.method(), Method::GET | Method::HEAD);
    let Changes { what, whom } = match noted {
        Some(changes) => changes,
        // Where no change was noted, the path tells what it is about.
        None if may_change && response.status().is_success() => Changes {
            what: vec![request.method().to_string()],
            whom: request.path().to_owned(),
        },
        None => return,
    };
    let peer = request.peer_addr().map(tracing::field::display);
    let what = what.join(", ");
    tracing::info!(by, peer, what, whom, "changed through the admin endpoint");
}
