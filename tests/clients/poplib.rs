//! poplib of Python.

use super::*;

/// What poplib can do, done. Each message is written to a file of its number.
const POPLIB: &str = r#"
import poplib, ssl, sys

security, host, port, user, key, certificate, folder = sys.argv[1:]
trust = ssl.create_default_context(cafile=certificate)
if security == 'Tls':
    box = poplib.POP3_SSL(host, int(port), context=trust, timeout=60)
else:
    box = poplib.POP3(host, int(port), timeout=60)
assert box.getwelcome().startswith(b'+OK'), box.getwelcome()
before = box.capa()
if security == 'Stls':
    assert 'STLS' in before, before
    assert box.stls(trust).startswith(b'+OK')
    assert 'STLS' not in box.capa()
assert 'UIDL' in before and 'TOP' in before and 'USER' in before, before
try:
    box.apop(user, key)
    raise AssertionError('APOP is not offered')
except poplib.error_proto:
    pass
try:
    box.user(user)
    box.pass_(key + 'x')
    raise AssertionError('that key is wrong')
except poplib.error_proto as error:
    assert b'[AUTH]' in error.args[0], error
box.user(user)
assert box.pass_(key).startswith(b'+OK')
count, octets = box.stat()
assert box.noop().startswith(b'+OK')
sizes = [int(line.split()[1]) for line in box.list()[1]]
assert len(sizes) == count and sum(sizes) == octets, (sizes, count, octets)
ids = [line.decode().split()[1] for line in box.uidl()[1]]
assert len(set(ids)) == count
for number in range(1, count + 1):
    lines = box.retr(number)[1]
    message = b''.join(line + b'\r\n' for line in lines)
    assert len(message) == sizes[number - 1], number
    assert box.list(number).split()[2] == str(len(message)).encode()
    assert box.uidl(number).split()[2].decode() == ids[number - 1]
    # poplib counts the dots; RETR of a whole message has as many lines as TOP of them all.
    assert box.top(number, len(lines))[1] == lines
    header = box.top(number, 0)[1]
    assert header == lines[:lines.index(b'') + 1 if b'' in lines else None], header
    with open(f'{folder}/{number}', 'wb') as file:
        file.write(message)
box.dele(1)
box.dele(2)
assert box.stat()[0] == count - 2
box.rset()
box.dele(1)
assert box.quit().startswith(b'+OK')
"#;

#[test]
fn python_poplib_does_all_that_it_can() {
    if !is_here("python3") {
        return;
    }
    let mut messages = demo_mail::messages();
    messages.push(b".\r\n..\r\n\r\n.first\r\n.\r\n..\r\n...\r\nlast\r\n.".to_vec());
    messages.retain(|message| {
        let mut lines = message.split(|octet| *octet == b'\n');
        lines.all(|line| line.len() < LONGEST_LINE)
    });
    let post = Post::open(messages);
    for (round, security) in EVERY_SECURITY.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let mut python = Command::new("python3");
        python
            .args(["-c", POPLIB, &format!("{security:?}"), "localhost"])
            .args([&post.port(security).to_string(), ADA, &post.key])
            .args([&post.certificate(), folder.path()]);
        post.run_well(&mut python);
        // Each round has deleted the first message.
        let there = &post.messages[round..];
        let read = |number: usize| std::fs::read(folder.path().join(number.to_string())).unwrap();
        let got: Vec<_> = (1..=there.len()).map(read).collect();
        assert_same_mail(&got, there, &format!("poplib, {security:?}"));
        assert_eq!(post.left(), there.len() - 1);
    }
}
