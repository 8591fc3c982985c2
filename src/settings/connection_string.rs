//! Turns a connection string of Npgsql into a URL for PostgreSQL.
//!
//! No message quotes a value, nor a keyword that Npgsql does not know: a password with a `;` in
//! it that is not in quotes falls apart, and its second half stands where a keyword should.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::names::squash;

/// Keywords of Npgsql that are not carried over, in lower case and without spaces.
#[rustfmt::skip]
const IGNORED: [&str; 49] = [
    "arraynullabilitymode", "autoprepareminusages", "cancellationtimeout", "channelbinding",
    "checkcertificaterevocation", "clientencoding", "commandtimeout", "connectionidlelifetime",
    "connectionlifetime", "connectionpruninginterval", "encoding", "enlist",
    "gssencryptionmode", "hostrecheckseconds", "includeerrordetail", "includerealm",
    "integratedsecurity", "internalcommandtimeout", "keepalive", "kerberosservicename",
    "loadbalancehosts", "loadtablecomposites", "logparameters", "maxautoprepare",
    "maximumpoolsize", "maxpoolsize", "minimumpoolsize", "minpoolsize", "multiplexing",
    "noresetonclose", "passfile", "persistsecurityinfo", "pooling", "readbuffersize",
    "requireauth", "servercompatibilitymode", "socketreceivebuffersize", "socketsendbuffersize",
    "sslcertificate", "sslkey", "sslnegotiation", "sslpassword", "targetsessionattributes",
    "tcpkeepalive", "tcpkeepaliveinterval", "tcpkeepalivetime", "timeout", "timezone",
    "trustservercertificate",
];

/// The URL, and the parts of the connection string that it leaves out.
pub(super) fn parse(text: &str) -> Result<(String, Vec<String>), String> {
    let mut fields = BTreeMap::new();
    let mut left_out = Vec::new();
    let mut rest = text;
    for number in 1.. {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        if rest.is_empty() {
            break;
        }
        let (keyword, value, behind) = part(rest)
            .map_err(|reason| format!("part {number} of the connection string {reason}"))?;
        rest = behind;
        let squashed = squash(keyword).replace(char::is_whitespace, "");
        if let Some(field) = field(&squashed) {
            fields.insert(field, value);
        } else if IGNORED.contains(&squashed.as_str()) {
            left_out.push(keyword.to_owned());
        } else {
            left_out.push(format!("part {number}, whose keyword is unknown,"));
        }
    }
    // Npgsql takes an empty value as none.
    fields.retain(|_, value| !value.is_empty());
    Ok((url(&fields)?, left_out))
}

/// Cuts off the first part: its keyword, its value, and what is behind it.
fn part(text: &str) -> Result<(&str, String, &str), &'static str> {
    let no_pair = "is not of the form Keyword=Value; a value with a ; in it must be in quotes";
    let (keyword, value) = text.split_once('=').ok_or(no_pair)?;
    if keyword.contains(';') {
        return Err(no_pair);
    }
    let value = value.trim_start();
    let (quote, mut rest) = match (value.strip_prefix('"'), value.strip_prefix('\'')) {
        (Some(rest), _) => ('"', rest),
        (None, Some(rest)) => ('\'', rest),
        (None, None) => {
            let (value, rest) = value.split_once(';').unwrap_or((value, ""));
            return Ok((keyword.trim(), value.trim_end().to_owned(), rest));
        }
    };
    let mut unquoted = String::new();
    loop {
        let (piece, behind) = rest
            .split_once(quote)
            .ok_or("begins with a quote that does not end")?;
        unquoted.push_str(piece);
        // Two quotes within quotes stand for one.
        let Some(more) = behind.strip_prefix(quote) else {
            rest = behind.trim_start();
            break;
        };
        unquoted.push(quote);
        rest = more;
    }
    if !rest.is_empty() && !rest.starts_with(';') {
        return Err("goes on behind its closing quote; a quote in a value must be doubled");
    }
    Ok((keyword.trim(), unquoted, rest))
}

/// What a keyword is called in the URL.
fn field(keyword: &str) -> Option<&'static str> {
    match keyword {
        "host" | "server" => Some("host"),
        "port" => Some("port"),
        "database" | "db" => Some("database"),
        "username" | "userid" | "user" | "uid" => Some("user"),
        "password" | "pwd" | "psw" => Some("password"),
        "sslmode" => Some("sslmode"),
        "rootcertificate" => Some("sslrootcert"),
        "applicationname" => Some("application_name"),
        "searchpath" => Some("options[search_path]"),
        "options" => Some("options"),
        _ => None,
    }
}

fn url(fields: &BTreeMap<&'static str, String>) -> Result<String, String> {
    let needed = |name: &str, keyword: &str| match fields.get(name) {
        Some(value) => Ok(value.as_str()),
        None => Err(format!("the connection string has no {keyword}")),
    };
    let (host, port_of_host) = host(needed("host", "Host")?)?;
    let database = encoded(needed("database", "Database")?);

    let mut url = "postgres://".to_owned();
    if let Some(user) = fields.get("user") {
        url += &encoded(user);
    }
    if let Some(password) = fields.get("password") {
        url += &format!(":{}", encoded(password));
    }
    if fields.contains_key("user") || fields.contains_key("password") {
        url.push('@');
    }
    url += &host;
    if let Some(port) = fields.get("port").map(String::as_str).or(port_of_host) {
        match port.parse::<u16>() {
            Ok(port) if port > 0 => url += &format!(":{port}"),
            Ok(_) | Err(_) => return Err("Port is not a number from 1 to 65535".to_owned()),
        }
    }
    url += &format!("/{database}");

    let mut separator = '?';
    for name in [
        "sslmode",
        "sslrootcert",
        "application_name",
        "options",
        "options[search_path]",
    ] {
        let Some(value) = fields.get(name) else {
            continue;
        };
        let value = match name {
            "sslmode" => ssl_mode(value)?.to_owned(),
            _ => encoded(value),
        };
        url += &format!("{separator}{}={value}", encoded(name));
        separator = '&';
    }
    Ok(url)
}

/// The host as a URL has it, and the port if the host has one in it.
fn host(text: &str) -> Result<(String, Option<&str>), String> {
    if text.contains(',') {
        return Err("Host names more than one server; one is possible".to_owned());
    }
    if text.starts_with('/') {
        return Ok((encoded(text), None)); // The folder of a Unix socket.
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((format!("[{text}]"), None));
    }
    match text.split_once(':') {
        Some((host, port)) => Ok((encoded(host), Some(port))),
        None => Ok((encoded(text), None)),
    }
}

fn ssl_mode(text: &str) -> Result<&'static str, String> {
    match squash(text).as_str() {
        "disable" => Ok("disable"),
        "allow" => Ok("allow"),
        "prefer" => Ok("prefer"),
        "require" => Ok("require"),
        "verifyca" => Ok("verify-ca"),
        "verifyfull" => Ok("verify-full"),
        _ => {
            let possible = "Disable, Allow, Prefer, Require, VerifyCA and VerifyFull";
            Err(format!("SSL Mode is not one of {possible}"))
        }
    }
}

/// Percent-encodes all that is not unreserved (RFC 3986 section 2.3).
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(octet));
            }
            _ => encoded += &format!("%{octet:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> String {
        let (url, left_out) = parse(text).unwrap();
        assert_eq!(left_out, Vec::<String>::new());
        url
    }

    #[test]
    fn a_connection_string_becomes_a_url() {
        assert_eq!(
            url("Host=db;Port=5432;Database=relate;Username=u;Password=p;SSL Mode=Require"),
            "postgres://u:p@db:5432/relate?sslmode=require"
        );
        assert_eq!(
            url(" SERVER = db ; user id = u ;; db = relate ; sslmode = verify-full ; "),
            "postgres://u@db/relate?sslmode=verify-full"
        );
        assert_eq!(
            url("Host=db;Database=relate;Root Certificate=/ca.pem;Search Path=mail, public"),
            "postgres://db/relate?sslrootcert=%2Fca.pem&options%5Bsearch_path%5D=mail%2C%20public"
        );
    }

    #[test]
    fn every_kind_of_host_is_taken() {
        for (host, expected) in [
            ("db.example.org", "db.example.org"),
            ("db:5433", "db:5433"),
            ("::1", "[::1]"),
            ("/var/run/postgresql", "%2Fvar%2Frun%2Fpostgresql"),
        ] {
            let text = format!("Host={host};Database=d");
            assert_eq!(url(&text), format!("postgres://{expected}/d"));
        }
    }

    #[test]
    fn a_value_may_be_in_quotes_and_hold_any_character() {
        for (written, encoded) in [
            ("a=b", "a%3Db"),
            ("'a;b'", "a%3Bb"),
            ("\"a;b\" ", "a%3Bb"),
            ("'it''s'", "it%27s"),
            ("\"a\"\"b'c\"", "a%22b%27c"),
            ("' a '", "%20a%20"),
            ("a'b", "a%27b"),
            ("p@ss:w/o?r#d%", "p%40ss%3Aw%2Fo%3Fr%23d%25"),
            ("å", "%C3%A5"),
        ] {
            let text = format!("Host=db;Username=u;Password={written};Database=d");
            assert_eq!(url(&text), format!("postgres://u:{encoded}@db/d"));
        }
        assert_eq!(url("Password=;Host=db;Database=d"), "postgres://db/d");
        assert_eq!(url("Password='';Host=db;Database=d"), "postgres://db/d");
    }

    #[test]
    fn a_keyword_that_is_not_carried_over_is_told() {
        let text = "Host=db;Database=d;Pooling=true;Maximum Pool Size=20;Timeout=5;x2=y";
        let (url, left_out) = parse(text).unwrap();
        assert_eq!(url, "postgres://db/d");
        assert_eq!(
            left_out,
            [
                "Pooling",
                "Maximum Pool Size",
                "Timeout",
                "part 6, whose keyword is unknown,"
            ]
        );
    }

    #[test]
    fn what_is_no_connection_string_is_refused() {
        for (text, reason) in [
            ("Database=d", "the connection string has no Host"),
            ("Host=db", "the connection string has no Database"),
            ("Host=;Database=d", "the connection string has no Host"),
            (
                "Host=a,b;Database=d",
                "Host names more than one server; one is possible",
            ),
            (
                "Host=db;Database=d;Port=0",
                "Port is not a number from 1 to 65535",
            ),
            (
                "Host=db:x;Database=d",
                "Port is not a number from 1 to 65535",
            ),
            (
                "Host=db;Database=d;SSL Mode=on",
                "SSL Mode is not one of Disable, Allow, Prefer, Require, VerifyCA and VerifyFull",
            ),
            (
                "Host=db;Password=a;b;Database=d",
                "part 3 of the connection string is not of the form Keyword=Value; \
                 a value with a ; in it must be in quotes",
            ),
            (
                "Host=db;Password='a",
                "part 2 of the connection string begins with a quote that does not end",
            ),
            (
                "Password='a'b;Host=db",
                "part 1 of the connection string goes on behind its closing quote; \
                 a quote in a value must be doubled",
            ),
        ] {
            assert_eq!(parse(text), Err(reason.to_owned()));
        }
    }

    #[test]
    fn no_message_quotes_a_value_or_an_unknown_keyword() {
        for text in [
            "postgres://u:hunter2@db/d?sslmode=require",
            "hunter2",
            "Host=db;Password=a;hunter2",
            "Host=db;Password=a;hunter2=;Database=d",
            "Host=db;Password='a'hunter2",
            "Port=hunter2;Host=db;Database=d",
            "SSL Mode=hunter2;Host=db;Database=d",
        ] {
            let said = match parse(text) {
                Ok((_, left_out)) => left_out.join(" "),
                Err(reason) => reason,
            };
            assert!(!said.is_empty() && !said.contains("hunter2"), "{said}");
        }
    }
}
