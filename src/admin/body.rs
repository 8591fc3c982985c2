//! Reads the whole body of each request, within a timeout, before the request is handled.

use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Next;
use actix_web::{ResponseError, web};

use super::problem::Problem;

/// The largest body of a request in octets.
pub(super) const MAX_BODY_OCTETS: usize = 16 * 1024;

/// Timeout for receiving the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the body. A client that announces one and does not send it is refused after the timeout.
pub(super) async fn read(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse, actix_web::Error> {
    let body = request.extract::<web::Payload>().await?;
    let reading = tokio::time::timeout(BODY_TIMEOUT, body.to_bytes_limited(MAX_BODY_OCTETS));
    let refusal = match reading.await {
        Ok(Ok(Ok(body))) => {
            request.set_payload(Payload::from(body));
            return next.call(request).await;
        }
        Ok(Ok(Err(error))) => Problem::bad_request(error.to_string()),
        Ok(Err(_)) => {
            let detail = format!("the body has more than {MAX_BODY_OCTETS} octets");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        }
        Err(_) => {
            let detail = format!("the body did not come within {} s", BODY_TIMEOUT.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
        }
    };
    let mut response = refusal.error_response();
    // Octets that still arrive must not be taken for another request.
    response
        .head_mut()
        .set_connection_type(ConnectionType::Close);
    Ok(request.into_response(response))
}
