//! Settings that do nothing, because of what others are.

use pop3::{ChannelBinding, Mechanism};

use super::{PlaintextAuth, Pop3Settings};

impl Pop3Settings {
    /// Returns a warning for each setting that does nothing.
    pub(super) fn without_effect(&self) -> impl Iterator<Item = &'static str> {
        let asks = self.client_ca_path.is_some();
        let lists = !self.crl_path.is_empty();
        [
            // The default is no mistake of anyone who has set a shorter session timeout.
            (
                !self.evict_idle_after.is_zero()
                    && self.evict_idle_after >= self.session_timeout
                    && self.evict_idle_after != Self::default().evict_idle_after,
                "Pop3.EvictIdleAfter does nothing: Pop3.SessionTimeout ends idle sessions before",
            ),
            (
                self.strict_alpn && self.certificate_path.is_empty(),
                "Pop3.StrictAlpn does nothing without Pop3.CertificatePath: there is no TLS",
            ),
            (
                asks && self.certificate_path.is_empty(),
                "Pop3.ClientCaPath does nothing without Pop3.CertificatePath: there is no TLS",
            ),
            (
                lists && !asks,
                "Pop3.CrlPath does nothing without Pop3.ClientCaPath: no client is asked for a \
                 certificate",
            ),
            (
                lists && asks && !self.check_certificate_revocation,
                "Pop3.CrlPath does nothing while Pop3.CheckCertificateRevocation is false",
            ),
        ]
        .into_iter()
        .chain(self.auth_without_effect())
        .filter_map(|(does_nothing, why)| does_nothing.then_some(why))
    }

    /// Settings of AUTH, with whether they do nothing.
    fn auth_without_effect(&self) -> [(bool, &'static str); 7] {
        let names = |mechanism| self.auth_mechanisms.names(mechanism);
        let allowed = self.auth_mechanisms.allowed();
        let has_tls = !self.certificate_path.is_empty();
        let (plus, scram) = (Mechanism::ScramSha256Plus, Mechanism::ScramSha256);
        let offers = self.channel_binding == ChannelBinding::Offer;
        let never = self.channel_binding == ChannelBinding::Never;
        let sends_secret = names(Mechanism::Plain) || names(Mechanism::Login);
        let any_key_will_do = !self.require_authentication;
        [
            (
                offers && !allowed.contains(plus),
                "Pop3.ChannelBinding=offer does nothing while Pop3.AuthMechanisms is without \
                 SCRAM-SHA-256-PLUS",
            ),
            (
                offers && allowed.contains(plus) && !has_tls,
                "Pop3.ChannelBinding=offer does nothing without Pop3.CertificatePath: there is no \
                 TLS",
            ),
            (
                never && names(plus),
                "SCRAM-SHA-256-PLUS in Pop3.AuthMechanisms does nothing while Pop3.ChannelBinding \
                 is never",
            ),
            (
                !offers && !never && names(plus) && !has_tls,
                "SCRAM-SHA-256-PLUS in Pop3.AuthMechanisms does nothing without \
                 Pop3.CertificatePath: there is no TLS",
            ),
            (
                any_key_will_do && (offers || names(plus) || names(scram)),
                "SCRAM does nothing while Pop3.RequireAuthentication is false: there is no key to \
                 prove",
            ),
            (
                names(Mechanism::External) && self.client_ca_path.is_none(),
                "EXTERNAL in Pop3.AuthMechanisms does nothing without Pop3.ClientCaPath: no client \
                 is asked for a certificate",
            ),
            (
                sends_secret && !has_tls && self.plaintext_auth == PlaintextAuth::Never,
                "PLAIN and LOGIN in Pop3.AuthMechanisms do nothing without Pop3.CertificatePath \
                 while Pop3.PlaintextAuth is never",
            ),
        ]
    }
}
