//! Problem documents (RFC 9457).

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::AccountError;
use crate::supervision::ActorUnavailable;

/// The media type of a [`Problem`].
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// The reason why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Problem {
    /// `about:blank`: the status says all.
    r#type: &'static str,
    /// The name of the status.
    title: &'static str,
    /// The status of the response.
    status: u16,
    /// The mistake, and what to do.
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            response.insert_header(("WWW-Authenticate", "Bearer"));
        }
        response
            .insert_header(("Content-Type", PROBLEM_JSON))
            .body(serde_json::json!(self).to_string())
    }
}

impl From<ActorUnavailable> for Problem {
    fn from(error: ActorUnavailable) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        let status = match &error {
            AccountError::NotAnAddress(_)
            | AccountError::BadKeyName
            | AccountError::UnknownScope(_)
            | AccountError::NoScope
            | AccountError::QuotaTooLarge
            | AccountError::AlreadyExpired
            | AccountError::ShortWithoutNetwork => StatusCode::BAD_REQUEST,
            AccountError::NoSuchUser(_) | AccountError::NoSuchKey(_) => StatusCode::NOT_FOUND,
            AccountError::AddressTaken(_)
            | AccountError::KeyNameTaken { .. }
            | AccountError::Ambiguous(_)
            | AccountError::Elsewhere(_) => StatusCode::CONFLICT,
            AccountError::Locked => StatusCode::SERVICE_UNAVAILABLE,
            AccountError::Unsupported => StatusCode::NOT_IMPLEMENTED,
            AccountError::Database(_) => {
                let detail = "the database did not answer as it should; the log says why";
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, detail);
            }
        };
        Self::new(status, error.to_string())
    }
}
