//! `Net::POP3` of Perl, which many scripts use.

use super::*;

/// Reads all messages, each into a file of its number, and deletes the first.
const NET_POP3: &str = r#"
use strict; use warnings; use Net::POP3;
my ($security, $port, $user, $key, $ca, $folder) = @ARGV;
my @trust = (SSL_ca_file => $ca);
my $pop = Net::POP3->new('localhost', Port => $port, Timeout => 30,
    $security eq 'Tls' ? (SSL => 1, @trust) : ()) or die "connect: $@";
$security ne 'Stls' or $pop->starttls(@trust) or die 'starttls: ', $pop->message;
# By AUTH if there is Authen::SASL, with the mechanism that it likes best; else by USER and PASS.
my $in = $ENV{SASL} ? $pop->auth($user, $key) : $pop->login($user, $key);
die 'login: ', $pop->message unless $in;
my ($count) = $pop->popstat;
my $ids = $pop->uidl;
die 'unique-ids' unless keys %$ids == $count;
for my $number (sort { $a <=> $b } keys %{$pop->list}) {
    open my $file, '>:raw', "$folder/$number" or die $!;
    # It leaves CRLF as it is inside TLS.
    print $file map { s/\r?\n\z/\n/r } @{$pop->get($number)};
    die 'top' unless @{$pop->top($number, 0)};
}
$pop->delete(1) or die 'delete: ', $pop->message;
$pop->quit or die 'quit: ', $pop->message;
"#;

#[test]
fn net_pop3_reads_and_deletes() {
    if !is_here("perl") {
        return;
    }
    let messages = (1..=12).map(|seed| mail::message(seed, 3000)).collect();
    let mut post = Post::open(messages);
    let mut left = post
        .messages
        .iter()
        .map(|message| as_file(message))
        .collect::<Vec<_>>();
    for keys in ["one key", "three keys"] {
        if keys == "three keys" {
            post.add_keys();
        }
        for security in EVERY_SECURITY {
            for sasl in ["", "1"] {
                let who = format!("Net::POP3, {security:?}, SASL {sasl:?}, {keys}");
                let folder = tempfile::tempdir().unwrap();
                let mut perl = Command::new("perl");
                perl.args(["-e", NET_POP3, &format!("{security:?}")])
                    .args([&post.port(security).to_string(), ADA, &post.key])
                    .args([&post.certificate(), folder.path()]);
                post.run_well(perl.env("SASL", sasl));
                let read = |number: usize| std::fs::read(folder.path().join(number.to_string()));
                let got: Vec<_> = (1..=left.len())
                    .map(|number| read(number).unwrap())
                    .collect();
                assert_same_mail(&got, &left, &who);
                left.remove(0);
                assert_eq!(post.left(), left.len(), "{who}");
            }
        }
    }
    post.assert_no_login_refused();
}
