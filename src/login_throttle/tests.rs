use super::*;

const SECOND: Duration = Duration::from_secs(1);

const ADA: &str = "ada@example.org";

fn throttle_except(exempt: Exempt) -> LoginThrottle {
    LoginThrottle::new(Delays {
        first: SECOND * 2,
        longest: SECOND * 15,
        exempt,
    })
}

fn throttle() -> LoginThrottle {
    throttle_except(Exempt::Nobody)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn home() -> IpAddr {
    ip("192.0.2.1")
}

#[test]
fn the_delay_doubles_up_to_the_longest() {
    let (throttle, mut now) = (throttle(), Instant::now());
    assert_eq!(throttle.wait_until(home(), ADA, now), None);
    for (n, seconds) in [2, 4, 8, 15, 15, 15, 15, 15, 15, 15, 15, 15]
        .into_iter()
        .enumerate()
    {
        let secret = n.to_string();
        let gate = throttle.failed(home(), ADA, Some(secret.as_bytes()), now);
        assert_eq!(gate, now + SECOND * seconds);
        assert_eq!(throttle.wait_until(home(), ADA, now), Some(gate));
        assert_eq!(throttle.wait_until(home(), ADA, gate), None);
        now = gate;
    }
}

#[test]
fn another_name_from_the_same_network_is_not_delayed() {
    let (throttle, now) = (throttle(), Instant::now());
    for _ in 0..5 {
        throttle.failed(home(), ADA, None, now);
    }
    assert_eq!(throttle.wait_until(home(), "bob@example.org", now), None);
    let first = throttle.failed(home(), "bob@example.org", None, now);
    assert_eq!(first, now + SECOND * 2);
    // The same user by another key or in other letters is the same name.
    for ada in ["Ada@Example.ORG", "ada@example.org#phone"] {
        assert!(throttle.wait_until(home(), ada, now).is_some(), "{ada}");
    }
}

#[test]
fn a_wrong_secret_that_is_repeated_counts_once() {
    let (throttle, mut now) = (throttle(), Instant::now());
    let old_key = Some(&b"old"[..]);
    throttle.failed(home(), ADA, old_key, now);
    for seconds in [2, 2, 3, 60, 300, 3599, 3599] {
        now += SECOND * seconds;
        let answer_at = throttle.failed(home(), ADA, old_key, now);
        assert_eq!(answer_at, now + SECOND * 2, "its own answer is still late");
        assert_eq!(throttle.wait_until(home(), ADA, now), None);
    }
    let guess = throttle.failed(home(), ADA, Some(b"guess"), now);
    assert_eq!(guess, now + SECOND * 2, "the first was forgiven long ago");
    let next = throttle.failed(home(), ADA, Some(b"another"), now);
    assert_eq!(next, now + SECOND * 4);
}

#[test]
fn a_secret_that_nobody_knows_is_never_a_repetition() {
    let (throttle, now) = (throttle(), Instant::now());
    throttle.failed(home(), ADA, None, now);
    assert_eq!(throttle.failed(home(), ADA, None, now), now + SECOND * 4);
}

#[test]
fn a_right_secret_forgets_the_failures_of_its_name_alone() {
    let (throttle, now) = (throttle(), Instant::now());
    for name in [ADA, "bob@example.org"] {
        throttle.failed(home(), name, None, now);
        throttle.failed(home(), name, None, now);
    }
    throttle.succeeded(home(), "ADA@example.org#laptop");
    assert_eq!(throttle.wait_until(home(), ADA, now), None);
    assert_eq!(throttle.failed(home(), ADA, None, now), now + SECOND * 2);
    assert!(
        throttle
            .wait_until(home(), "bob@example.org", now)
            .is_some()
    );
    throttle.succeeded(ip("198.51.100.1"), "bob@example.org");
    assert!(
        throttle
            .wait_until(home(), "bob@example.org", now)
            .is_some()
    );
}

#[test]
fn a_network_that_tries_many_names_gets_its_answers_late() {
    let (throttle, now) = (throttle(), Instant::now());
    for n in 0..MAX_NAMES_PER_NETWORK {
        let first = throttle.failed(home(), &format!("u{n}@example.org"), None, now);
        assert_eq!(first, now + SECOND * 2);
    }
    let late = throttle.failed(home(), "one.more@example.org", None, now);
    assert_eq!(late, now + SECOND * 15);
    assert_eq!(throttle.wait_until(home(), ADA, now), None);
    // After an hour without any, the network is like others.
    let later = now + REMEMBERED_FOR;
    assert_eq!(
        throttle.failed(home(), ADA, None, later),
        later + SECOND * 2
    );
    assert_eq!(throttle.failures.lock().rows.len(), 1);
}

#[test]
fn a_minute_without_a_failure_forgives_one() {
    let (throttle, began) = (throttle(), Instant::now());
    for _ in 0..3 {
        throttle.failed(home(), ADA, None, began);
    }
    let later = began + SECOND * 60;
    // Two are left, so this is the third again.
    let third = throttle.failed(home(), ADA, None, later);
    assert_eq!(third, later + SECOND * 8);
    let much_later = later + SECOND * 180;
    let first_again = much_later + SECOND * 2;
    assert_eq!(throttle.failed(home(), ADA, None, much_later), first_again);
}

#[test]
fn any_number_of_failures_is_forgotten_after_ten_minutes() {
    let (throttle, began) = (throttle(), Instant::now());
    for _ in 0..1000 {
        throttle.failed(home(), ADA, None, began);
    }
    let later = began + FORGIVEN_AFTER * MAX_STEPS;
    let first = throttle.failed(home(), ADA, None, later);
    assert_eq!(first, later + SECOND * 2);
}

#[test]
fn nobody_waits_longer_than_the_longest_delay() {
    let (throttle, mut now) = (throttle(), Instant::now());
    for _ in 0..100 {
        throttle.failed(home(), ADA, None, now);
        let gate = throttle.wait_until(home(), ADA, now).unwrap();
        assert!(gate <= now + SECOND * 15);
        now += SECOND / 10;
    }
}

#[test]
fn a_failure_does_not_bring_a_gate_forward() {
    let (throttle, now) = (throttle(), Instant::now());
    for _ in 0..4 {
        throttle.failed(home(), ADA, None, now);
    }
    let gate = now + SECOND * 15;
    assert_eq!(throttle.wait_until(home(), ADA, now), Some(gate));
    assert!(throttle.failed(home(), ADA, None, now + SECOND) >= gate);
}

#[test]
fn another_network_is_not_delayed_and_another_address_of_one_ipv6_network_is() {
    let (throttle, now) = (throttle(), Instant::now());
    let waits = |client| throttle.wait_until(ip(client), ADA, now).is_some();
    throttle.failed(home(), ADA, None, now);
    assert!(waits("::ffff:192.0.2.1"));
    assert!(!waits("192.0.2.2"));
    throttle.failed(ip("2001:db8::1"), ADA, None, now);
    assert!(waits("2001:db8::ffff:2"));
    assert!(!waits("2001:db8:0:1::1"));
}

#[test]
fn addresses_that_many_share_are_exempt() {
    let proxies = "198.51.100.0/24".parse().unwrap();
    let throttle = throttle_except(Exempt::LoopbackAnd(proxies));
    let now = Instant::now();
    for exempt in ["127.0.0.1", "127.8.8.8", "::1", "198.51.100.7"] {
        assert_eq!(throttle.failed(ip(exempt), ADA, None, now), now);
        assert_eq!(throttle.wait_until(ip(exempt), ADA, now), None);
    }
    assert!(throttle.failed(home(), ADA, None, now) > now);
}

#[test]
fn a_delay_of_zero_delays_nobody_and_remembers_nothing() {
    let delays = Delays {
        first: Duration::ZERO,
        longest: SECOND * 15,
        exempt: Exempt::Nobody,
    };
    let (throttle, now) = (LoginThrottle::new(delays), Instant::now());
    assert_eq!(throttle.failed(home(), ADA, None, now), now);
    assert_eq!(throttle.wait_until(home(), ADA, now), None);
    assert!(throttle.failures.lock().rows.is_empty());
}

#[test]
fn one_more_name_than_fits_drops_the_one_that_expires_first() {
    let (throttle, now) = (throttle(), Instant::now());
    throttle.failed(home(), ADA, None, now);
    throttle.failed(home(), ADA, None, now);
    let network = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
    let others = u32::try_from(MAX_NAMES).unwrap() - 1;
    for n in 0..others {
        throttle.failed(network(n), ADA, None, now + Duration::from_micros(n.into()));
    }
    let waits = |client| throttle.wait_until(client, ADA, now).is_some();
    assert!(waits(network(0)), "all fit");
    throttle.failed(network(others), ADA, None, now + SECOND);
    assert!(!waits(network(0)));
    assert!(waits(network(1)) && waits(home()));
    let failures = throttle.failures.lock();
    assert_eq!(failures.rows.len(), MAX_NAMES);
    assert_eq!(failures.by_expiry.len(), MAX_NAMES);
    assert_eq!(failures.names.len(), MAX_NAMES);
}
