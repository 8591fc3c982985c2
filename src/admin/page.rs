//! The page for people: one file, which requests only its data.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use data_encoding::BASE64;
use sha2::{Digest, Sha256};

/// The page, with its style and its script inside.
const PAGE: &str = include_str!("page.html");

/// Only the page's own script runs, and it asks only this server.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let [style, script] = ["style", "script"].map(|element| BASE64.encode(&hash_of(element)));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
});

/// Returns the hash of the text of an element.
fn hash_of(element: &str) -> [u8; 32] {
    let (begin, end) = (format!("<{element}>"), format!("</{element}>"));
    let behind = PAGE.split_once(&begin).map_or("", |(_, behind)| behind);
    let inside = behind.split_once(&end).map_or("", |(inside, _)| inside);
    Sha256::digest(inside).into()
}

/// Shows the page.
pub(super) async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("Content-Security-Policy", POLICY.as_str()))
        .body(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_requests_nothing_from_other_hosts() {
        for elsewhere in [
            "http://", "https://", "//cdn", "src=", "<link", "@import", "url(",
        ] {
            let found = PAGE.split('\n').find(|line| {
                line.contains(elsewhere) && !line.contains("http://www.w3.org/2000/svg")
            });
            assert_eq!(found, None, "{elsewhere}");
        }
        for element in ["style", "script"] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1, "{element}");
            assert_ne!(hash_of(element), <[u8; 32]>::from(Sha256::digest("")));
        }
        for inline in [" style=\"", " onclick=", "javascript:", "innerHTML"] {
            assert!(!PAGE.contains(inline), "{inline}");
        }
    }
}
