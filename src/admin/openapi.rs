//! What the endpoint can do, for programs: generated from the handlers.

use actix_web::HttpResponse;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, OpenApi as Document, Ref, ResponseBuilder, SecurityRequirement,
};
use utoipa::{Modify, OpenApi};

use super::guard::PROBES;
use super::problem::{PROBLEM_JSON, Problem};
use super::{health, overview, sessions, users};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Restante",
        description = "The endpoint for whoever runs the POP3 server. Errors are problem details (RFC 9457)."
    ),
    paths(
        health::healthz,
        health::livez,
        health::readyz,
        super::metrics,
        openapi,
        overview::overview,
        overview::events,
        sessions::list,
        sessions::end_matching,
        sessions::one,
        sessions::end,
        users::list,
        users::add,
        users::change,
        users::remove,
        users::keys,
        users::make_key,
        users::revoke_key,
    ),
    modifiers(&Token, &Refusals),
    components(schemas(Problem)),
)]
struct Api;

/// The token, which all but the probes ask for.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut Document) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        document.security = Some(vec![SecurityRequirement::new("token", [""; 0])]);
    }
}

/// What is refused before a handler sees it.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut Document) {
        for (path, item) in &mut document.paths.paths {
            let bodied = [&mut item.post, &mut item.patch];
            for operation in bodied.into_iter().flatten() {
                refuse(operation, "400", "The body can't be read");
                refuse(operation, "413", "The body is too long");
                refuse(operation, "415", "The body is no JSON");
            }
            let all = [
                &mut item.get,
                &mut item.post,
                &mut item.patch,
                &mut item.delete,
            ];
            for operation in all.into_iter().flatten() {
                refuse(operation, "403", "A page of a stranger asks");
                if !PROBES.contains(&path.as_str()) {
                    refuse(
                        operation,
                        "401",
                        "The token is missing, or not the right one",
                    );
                }
                if path.starts_with("/api/") {
                    refuse(
                        operation,
                        "503",
                        "The database does not answer, or the server ends",
                    );
                }
            }
        }
    }
}

fn refuse(operation: &mut Operation, status: &str, why: &str) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    let response = ResponseBuilder::new().description(why);
    let response = response.content(PROBLEM_JSON, problem.build()).build();
    let responses = &mut operation.responses.responses;
    responses
        .entry(status.to_owned())
        .or_insert_with(|| response.into());
}

/// Tells what this endpoint can do.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "overview",
    responses((status = 200, description = "An OpenAPI document", body = Object))
)]
pub(super) async fn openapi() -> HttpResponse {
    HttpResponse::Ok().json(Api::openapi())
}
