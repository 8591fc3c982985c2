//! Seeing live sessions and ending them, over HTTP.

use serde_json::{Value, json};

use super::Watched;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::mail::{ADA, BOB, fill, message};
use crate::support::place::{on_each_blocking, sqlite};

#[test]
fn a_session_is_seen_with_all_that_it_does() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 200), message(2, 300)]);
    let watched = Watched::start(&place.url, &[]);
    assert_eq!(
        watched.admin.json("/api/sessions"),
        json!({"sessions": [], "matched": 0, "total": 0})
    );
    let stranger = watched.daemon.connect();
    let mut client = watched.daemon.login(ADA, &key);
    client.body("UIDL");
    client.body("RETR 1");
    client.body("TOP 2 0");
    client.ok("DELE 1");
    let session = eventually("the session to wait", || {
        let all = watched.admin.json("/api/sessions?user=ADA@Example.com");
        let session = all["sessions"][0].clone();
        (session["command"].is_null() && all["matched"] == 1).then_some(session)
    });
    for (field, value) in [
        ("protocol", json!("pop3")),
        ("user", json!(ADA)),
        ("key", json!("test")),
        ("listener", json!("pop3")),
        ("state", json!("TRANSACTION")),
        ("tls", json!(false)),
        ("tls_version", Value::Null),
        ("command", Value::Null),
        ("last_command", json!("DELE")),
        ("messages", json!(2)),
        ("octets", json!(500)),
        ("deleted", json!(1)),
        ("retrieved", json!(1)),
        ("tops", json!(1)),
        ("retrs", json!(1)),
        ("deles", json!(1)),
        ("uidls", json!(1)),
    ] {
        assert_eq!(session[field], value, "{field} in {session}");
    }
    assert!(session["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(session["key_id"].as_i64() > Some(0));
    assert!(session["octets_sent"].as_u64() > Some(200));
    assert!(session["connected_at"].as_str() <= session["last_activity_at"].as_str());
    let id = session["id"].as_str().unwrap();
    assert_eq!(watched.admin.json(&format!("/api/sessions/{id}")), session);
    watched.admin.get("/api/sessions/nobody").problem(404);
    watched.admin.get("/api/sessions?user=").problem(400);
    watched
        .admin
        .ask("DELETE", "/api/sessions?user=", "")
        .problem(400);

    let matched = |query: &str| {
        let all = watched.admin.json(&format!("/api/sessions?{query}"));
        assert_eq!(all["total"], 2, "{query}");
        assert_eq!(
            all["matched"],
            all["sessions"].as_array().unwrap().len(),
            "{query}"
        );
        all["matched"].as_u64().unwrap()
    };
    for (query, count) in [
        ("", 2),
        ("user=bob@example.com", 0),
        ("state=TRANSACTION", 1),
        ("state=AUTHORIZATION", 1),
        ("state=UPDATE", 0),
        ("protocol=pop3", 2),
        ("protocol=lmtp", 0),
        ("address=127.0.0.1", 2),
        ("address=127.0.0.0/8", 2),
        ("address=192.0.2.1", 0),
        ("search=ada", 1),
        ("search=TEST", 1),
        ("search=127.0", 2),
        ("search=nobody", 0),
        ("user=ada@example.com&state=AUTHORIZATION", 0),
    ] {
        assert_eq!(matched(query), count, "{query}");
    }
    let page = watched.admin.json("/api/sessions?offset=1&limit=1");
    assert_eq!(
        (&page["matched"], &page["sessions"][0]),
        (&json!(2), &session)
    );
    for query in [
        "state=DONE",
        "protocol=imap",
        "address=here",
        "address=",
        "limit=-1",
        "limit=x",
        "usr=ada",
    ] {
        watched
            .admin
            .get(&format!("/api/sessions?{query}"))
            .problem(400);
    }
    drop(stranger);
}

#[test]
fn a_session_that_is_ended_deletes_nothing() {
    on_each_blocking(|place| {
        let ada = fill(&place.url, ADA, &[message(1, 200)]);
        let bob = fill(&place.url, BOB, &[message(2, 200)]);
        let watched = Watched::start(&place.url, &[]);
        let mut sessions: Vec<_> = (0..3).map(|_| watched.daemon.login(ADA, &ada)).collect();
        let mut other = watched.daemon.login(BOB, &bob);
        for client in &mut sessions {
            client.ok("DELE 1");
        }
        let first = watched
            .admin
            .json("/api/sessions?user=ada@example.com&limit=1");
        let id = first["sessions"][0]["id"].as_str().unwrap().to_owned();
        let path = format!("/api/sessions/{id}");
        assert_eq!(watched.admin.ask("DELETE", &path, "").status, 204);
        assert_eq!(sessions[0].read_to_end(), b"");
        eventually("the session to be gone", || {
            (watched.admin.get(&path).status == 404).then_some(())
        });
        watched.admin.ask("DELETE", &path, "").problem(404);
        // All sessions at once is what nobody means.
        for query in ["", "?", "?limit=1", "?search=a"] {
            watched
                .admin
                .ask("DELETE", &format!("/api/sessions{query}"), "")
                .problem(400);
        }
        let ended = watched
            .admin
            .ask("DELETE", "/api/sessions?user=ada@example.com", "");
        assert_eq!(ended.json(), json!({"ended": 2}));
        for client in &mut sessions[1..] {
            assert_eq!(client.read_to_end(), b"");
        }
        assert!(other.ok("STAT").starts_with("+OK 1 "));
        let mut again = watched.daemon.login(ADA, &ada);
        assert!(again.ok("STAT").starts_with("+OK 1 "));
        watched.daemon.wait_for_log("killed");
    });
}

#[test]
fn the_sessions_of_a_user_are_found_by_each_of_their_addresses() {
    let place = sqlite();
    let watched = Watched::start(&place.url, &[]);
    let admin = &watched.admin;
    let bob = json!({"address": "bob@example.com", "aliases": ["b@example.com"]});
    assert_eq!(admin.send("POST", "/api/users", &bob).status, 201);
    let made = admin.send(
        "POST",
        "/api/users/bob@example.com/keys",
        &json!({"name": "phone"}),
    );
    let mut client = watched
        .daemon
        .login("b@example.com", made.json()["key"].as_str().unwrap());
    client.ok("NOOP");
    for (address, matched) in [
        ("bob@example.com", 1),
        ("B@Example.com", 1),
        ("eve@example.com", 0),
    ] {
        let found = admin.json(&format!("/api/sessions?user={address}"));
        assert_eq!(found["matched"], matched, "{address}");
    }
    let ended = admin.ask("DELETE", "/api/sessions?user=b@example.com", "");
    assert_eq!(ended.json(), json!({"ended": 1}));
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn a_thousand_sessions_are_listed_searched_and_ended() {
    const COUNT: usize = 1000;
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 200)]);
    let limit = (COUNT + 10).to_string();
    let settings = [
        ("Pop3__MaxConnectionsPerUser", limit.as_str()),
        ("Pop3__MaxConnectionsPerAddress", "0"),
    ];
    let watched = Watched::start(&place.url, &settings);
    let mut sessions: Vec<Client> = (0..COUNT).map(|_| watched.daemon.connect()).collect();
    for client in &mut sessions[..500] {
        client.ok(&format!("USER {ADA}"));
        client.ok(&format!("PASS {key}"));
    }
    let all = watched.admin.json("/api/sessions");
    let listed = all["sessions"].as_array().unwrap();
    assert_eq!((listed.len(), &all["total"]), (COUNT, &json!(COUNT)));
    let since: Vec<_> = listed
        .iter()
        .map(|it| it["connected_at"].as_str().unwrap())
        .collect();
    assert!(since.is_sorted());
    let logged_in = watched
        .admin
        .json("/api/sessions?state=TRANSACTION&offset=450&limit=100");
    assert_eq!(logged_in["matched"], 500);
    assert_eq!(logged_in["sessions"].as_array().unwrap().len(), 50);
    let overview = watched.admin.json("/api/overview");
    assert_eq!(overview["sessions"]["total"], COUNT);
    assert_eq!(
        overview["sessions"]["sessions"].as_array().unwrap().len(),
        50
    );
    let one = listed[999]["id"].as_str().unwrap();
    let found = watched.admin.json(&format!("/api/sessions?search={one}"));
    assert_eq!(found["matched"], 1);

    let ended = watched
        .admin
        .ask("DELETE", "/api/sessions?state=AUTHORIZATION", "");
    assert_eq!(ended.json(), json!({"ended": 500}));
    for client in &mut sessions[500..] {
        assert_eq!(client.read_to_end(), b"");
    }
    eventually("500 sessions to be left", || {
        (watched.admin.json("/api/sessions?limit=0")["total"] == 500).then_some(())
    });
    for client in &mut sessions[..500] {
        client.ok("QUIT");
    }
}
