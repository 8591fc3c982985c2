//! Access to the admin endpoint.
//!
//! A caller with the token may do everything; the probes and the bare page are open. An endpoint on
//! loopback without a token in the settings shows its metrics to this machine, too, and keeps the
//! browsers of its users from showing anything to other sites: their requests come from
//! another origin, or name another host that was made to point here (DNS rebinding).

use std::net::IpAddr;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, ResponseError, web};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::changes;
use super::problem::{PROBLEM_JSON, Problem};
use super::token::{Origin, Token};

/// The probes of orchestrators, which have no token.
pub(super) const PROBES: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// The page, which is open: it holds only the form that asks for the token.
const PAGE: &str = "/";

/// The metrics, which name no user: programs of this machine may read them where no token is set
/// that they could present.
const METRICS: &str = "/metrics";

/// The headers of every response: no page is framed, sniffed, cached, or read by another origin.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// Decides which requests are allowed.
#[derive(Debug)]
pub(super) struct Guard {
    /// The hash of the token, so that comparing does not tell its length.
    token: [u8; 32],
    /// The name of its bearer in the log.
    name: &'static str,
    /// True if programs of this machine may read metrics without a token.
    is_for_this_machine: bool,
    address: IpAddr,
}

impl Guard {
    /// Makes the guard of an endpoint at this address with this token.
    pub(super) fn new(token: &Token, address: IpAddr) -> Self {
        let (name, is_set) = match token.origin() {
            Origin::Set => ("the token that is set", true),
            Origin::File(_) | Origin::Unkept => ("the token of the server", false),
        };
        Self {
            token: Sha256::digest(token.text()).into(),
            name,
            is_for_this_machine: !is_set && address.to_canonical().is_loopback(),
            address,
        }
    }

    /// Returns the refusal of a request, or who makes it.
    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let forbidden = |detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, detail));
        let path = uri.path();
        let open = path == PAGE || PROBES.contains(&path);
        let host = host(uri, headers);
        if self.is_for_this_machine && !host.is_some_and(|host| self.is_ours(host)) {
            return forbidden(
                "without Admin__Token, the host must be localhost or a loopback address",
            );
        }
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        if !open && site.is_some_and(|site| site != b"same-origin" && site != b"none") {
            return forbidden("pages of other sites may not ask for this");
        }
        let safe = matches!(*method, Method::GET | Method::HEAD);
        let origin = headers.get(header::ORIGIN).map(HeaderValue::to_str);
        if !safe && origin.is_some_and(|origin| !is_same(origin.ok(), host)) {
            return forbidden("pages of other origins may not change anything");
        }
        if open || (path == METRICS && self.is_for_this_machine) {
            return Ok(());
        }
        is_shown(&self.token, headers)
    }

    /// Returns whether only this machine can have this name: DNS can't make it point here.
    fn is_ours(&self, host: &str) -> bool {
        let name = without_port(host);
        let bare = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let address: Option<IpAddr> = bare.unwrap_or(name).parse().ok();
        let address = address.map(|it| it.to_canonical());
        name.eq_ignore_ascii_case("localhost")
            || address.is_some_and(|it| it.is_loopback() || it == self.address)
    }
}

fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let named = headers.get(header::HOST);
    let named = named.and_then(|host| host.to_str().ok());
    uri.authority().map(|it| it.as_str()).or(named)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // In [::1] the last colon belongs to the address.
        Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// Returns whether the origin of a request is the host that it is for.
fn is_same(origin: Option<&str>, host: Option<&str>) -> bool {
    let schemes = ["http://", "https://"];
    let of = |origin: &str| {
        schemes
            .iter()
            .find_map(|it| Some(origin.strip_prefix(it)?.to_owned()))
    };
    match (origin.and_then(of), host) {
        (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(host),
        (Some(_) | None, _) => false,
    }
}

fn is_shown(token: &[u8; 32], headers: &HeaderMap) -> Result<(), Problem> {
    let shown = headers.get(header::AUTHORIZATION);
    let shown = shown.and_then(|value| value.as_bytes().split_at_checked(BEARER.len()));
    let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER));
    let digest: Option<[u8; 32]> = shown.map(|(_, shown)| Sha256::digest(shown).into());
    if digest.is_some_and(|digest| digest.ct_eq(token).into()) {
        return Ok(());
    }
    let detail = "show the token: Authorization: Bearer TOKEN";
    Err(Problem::new(StatusCode::UNAUTHORIZED, detail))
}

/// The scheme of RFC 6750, with the space after it.
const BEARER: &[u8] = b"Bearer ";

/// Lets a request through or not, and puts the headers on its response.
pub(super) async fn guard(
    guard: web::Data<Guard>,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let checked = guard.check(request.method(), request.uri(), request.headers());
    let response = match checked {
        Ok(()) => next.call(request).await?,
        Err(problem) => request.into_response(problem.error_response()),
    };
    let response = response.map_into_boxed_body();
    changes::log(&response, guard.name);
    Ok(finished(response))
}

/// Puts the headers on a response, and the document of a problem on an error without one.
pub(super) fn finished(mut response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    if is_bare(response.response()) {
        let status = response.status();
        let detail = status.canonical_reason().unwrap_or_default().to_lowercase();
        let problem = Problem::new(status, detail).error_response();
        response = response.into_response(problem);
    }
    for (name, value) in HEADERS {
        let name = header::HeaderName::from_static(name);
        if !response.headers().contains_key(&name) {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Returns whether it is an error without a problem document, such as actix-web's own.
fn is_bare(response: &HttpResponse<BoxBody>) -> bool {
    let status = response.status();
    let typed = response.headers().get(header::CONTENT_TYPE);
    let explained = typed.is_some_and(|it| {
        it.as_bytes() == PROBLEM_JSON.as_bytes() || it.as_bytes() == b"application/json"
    });
    (status.is_client_error() || status.is_server_error()) && !explained
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(guard: &Guard, method: Method, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name.parse().unwrap(), value.parse().unwrap());
        }
        let checked = guard.check(&method, &path.parse().unwrap(), &map);
        checked.map_or_else(|problem| problem.status_code().as_u16(), |()| 200)
    }

    fn at(address: &str, set: Option<&str>) -> Guard {
        let token = Token::of_test(set.unwrap_or("made"), set.is_some());
        Guard::new(&token, address.parse().unwrap())
    }

    fn here(set: Option<&str>) -> Guard {
        at("127.0.0.1", set)
    }

    #[test]
    fn without_a_token_in_the_settings_this_machine_may_read_metrics() {
        let guard = here(None);
        for host in [
            "localhost",
            "LocalHost:8110",
            "127.0.0.1:8110",
            "127.0.0.2",
            "[::1]:8110",
            "[::1]",
        ] {
            let host = ("host", host);
            let shown = [host, ("authorization", "Bearer made")];
            assert_eq!(ask(&guard, Method::GET, "/api/sessions", &shown), 200);
            assert_eq!(ask(&guard, Method::GET, "/api/sessions", &[host]), 401);
            assert_eq!(ask(&guard, Method::GET, "/metrics", &[host]), 200);
            assert_eq!(ask(&guard, Method::GET, "/metrics/", &[host]), 401);
        }
        for host in [
            "evil.example",
            "evil.example:8110",
            "localhost.evil.example",
            "192.0.2.1",
            "",
            "::1.evil",
            "127.0.0.1.evil.example",
        ] {
            for path in ["/", "/healthz", "/api/sessions"] {
                assert_eq!(
                    ask(&guard, Method::GET, path, &[("host", host)]),
                    403,
                    "{host}"
                );
            }
        }
        assert_eq!(ask(&guard, Method::GET, "/", &[]), 403);
        // An endpoint that listens elsewhere asks other machines for the token.
        let elsewhere = at("0.0.0.0", None);
        let host = ("host", "pop.example.org");
        assert_eq!(ask(&elsewhere, Method::GET, "/healthz", &[host]), 200);
        assert_eq!(ask(&elsewhere, Method::GET, "/metrics", &[host]), 401);
        let shown = [host, ("authorization", "Bearer made")];
        assert_eq!(ask(&elsewhere, Method::GET, "/metrics", &shown), 200);
    }

    #[test]
    fn with_a_token_it_is_asked_for_but_by_the_page_and_the_probes() {
        let guard = here(Some("hunter2"));
        let host = ("host", "pop.example.org");
        for path in ["/", "/healthz", "/livez", "/readyz"] {
            assert_eq!(ask(&guard, Method::GET, path, &[host]), 200, "{path}");
        }
        for path in [
            "/metrics",
            "/api/sessions",
            "/api/openapi.json",
            "/nowhere",
            "//",
            "/healthz/",
        ] {
            assert_eq!(ask(&guard, Method::GET, path, &[host]), 401, "{path}");
        }
        for (shown, status) in [
            ("Bearer hunter2", 200),
            ("bearer hunter2", 200),
            ("Bearer hunter", 401),
            ("Bearer hunter22", 401),
            ("Bearer ", 401),
            ("Bearer", 401),
            ("hunter2", 401),
            ("Basic hunter2", 401),
        ] {
            let headers = [host, ("authorization", shown)];
            assert_eq!(
                ask(&guard, Method::GET, "/metrics", &headers),
                status,
                "{shown}"
            );
        }
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing() {
        for (set, shown) in [(None, "Bearer made"), (Some("hunter2"), "Bearer hunter2")] {
            let guard = here(set);
            let ours = [("host", "localhost:8110"), ("authorization", shown)];
            let with = |method, more: (&'static str, &'static str)| {
                ask(&guard, method, "/api/sessions/1", &[ours[0], ours[1], more])
            };
            for origin in [
                "http://evil.example",
                "null",
                "http://localhost:81",
                "http://localhost",
                "file://",
                "ftp://localhost:8110",
            ] {
                assert_eq!(with(Method::DELETE, ("origin", origin)), 403, "{origin}");
                assert_eq!(with(Method::POST, ("origin", origin)), 403, "{origin}");
            }
            assert_eq!(
                with(Method::DELETE, ("origin", "http://localhost:8110")),
                200
            );
            for site in ["cross-site", "same-site"] {
                assert_eq!(with(Method::GET, ("sec-fetch-site", site)), 403);
            }
            for site in ["same-origin", "none"] {
                assert_eq!(with(Method::DELETE, ("sec-fetch-site", site)), 200);
            }
        }
    }
}
