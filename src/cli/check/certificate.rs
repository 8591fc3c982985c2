//! Checks the certificate: its names, its key and its end.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::Finding;
use crate::metrics::Metrics;
use crate::settings::Pop3Settings;
use crate::tls::{CertificateReport, Tls, WARN_BEFORE};

const ABOUT: &str = "certificate";

pub(super) fn check(settings: &Pop3Settings) -> Vec<Finding> {
    let loaded = Metrics::new().and_then(|metrics| Tls::load(settings, Arc::new(metrics)));
    match loaded {
        Ok(Some(tls)) => {
            let mut findings: Vec<_> = tls.certificates().iter().map(validity).collect();
            findings.extend(name(settings, &tls.certificates()));
            findings.extend(open_keys(&tls));
            findings
        }
        Ok(None) => Vec::new(),
        Err(error) => vec![Finding::problem(
            ABOUT,
            format!("{error:#}"),
            "check Pop3__CertificatePath and Pop3__CertificateKeyPath, \
             and that this user may read the files",
        )],
    }
}

fn validity(certificate: &CertificateReport) -> Finding {
    let file = certificate.file.display();
    let day = jiff::Timestamp::try_from(certificate.not_after);
    let day = day.map_or_else(|_| "ever".to_owned(), |at| at.strftime("%F").to_string());
    let Ok(left) = certificate.not_after.duration_since(SystemTime::now()) else {
        let message = format!("the certificate {file} has expired on {day}");
        return Finding::problem(ABOUT, message, "renew it; a running server takes it up");
    };
    let days = left.as_secs() / (24 * 60 * 60);
    let message = format!("the certificate {file} is valid for {days} days, until {day}");
    if left < WARN_BEFORE {
        return Finding::warning(ABOUT, message, "renew it; a running server takes it up");
    }
    Finding::ok(ABOUT, message)
}

/// Checks that a certificate is for the server's name, with which clients compare it.
fn name(settings: &Pop3Settings, certificates: &[CertificateReport]) -> Option<Finding> {
    let name = settings.server_name.as_str();
    let parent = name
        .split_once('.')
        .map(|(_, parent)| format!("*.{parent}"));
    let fits = |of: &String| of.eq_ignore_ascii_case(name) || parent.as_ref() == Some(of);
    let names = certificates
        .iter()
        .flat_map(|certificate| &certificate.names);
    if names.clone().any(fits) {
        return None;
    }
    let names: Vec<_> = names.map(String::as_str).collect();
    Some(Finding::warning(
        ABOUT,
        format!(
            "no certificate is for {name}, only for: {}",
            names.join(", ")
        ),
        "set Pop3__ServerName to the name that clients connect to",
    ))
}

/// Warns of a private key that other users can read: with it, another server can pass for this one.
fn open_keys(tls: &Tls) -> Vec<Finding> {
    let everybody_reads = |file: &PathBuf| {
        let metadata = std::fs::metadata(file);
        metadata.is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
    };
    let tell = |file: PathBuf| {
        let file = file.display();
        let message = format!("every user of this machine may read the private key in {file}");
        Finding::warning(ABOUT, message, format!("chmod o= {file}"))
    };
    let keys = tls.key_files().into_iter();
    keys.filter(everybody_reads).map(tell).collect()
}
