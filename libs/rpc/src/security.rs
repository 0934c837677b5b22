//! Who may call whom, and how both know: certificates, tokens and the files that they are read from.

mod access;
mod reload;
mod secret;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use forebay_api::ServiceError;

pub(crate) use self::access::{Access, Identity};
pub(crate) use self::reload::Reloading;
pub use self::secret::{Secret, TokenSource};
pub(crate) use self::tls::{client_config, names_of, server_config};

/// How long a change of a file may go unnoticed.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// Files of a server that speaks TLS. All are PEM, and read again when they change: connections that are made from
/// then on have the new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The server's certificate and those above it: setting `tls_certificate`.
    pub certificate: PathBuf,
    /// Its private key: setting `tls_key`.
    pub key: PathBuf,
    /// Who signs the certificates of clients: setting `tls_client_ca`.
    pub client_ca: Option<PathBuf>,
    /// Refuse connections without a certificate that `client_ca` signed: setting `tls_require_client_certificate`.
    pub require_client_certificate: bool,
}

/// Who may call a server. The default admits everybody, and is refused on an address that others can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSecurity {
    /// TLS, or plain text.
    pub tls: Option<ServerTls>,
    /// Lines of `tenant: token`; tokens have at least 16 characters. A tenant may have several, so that they can be
    /// replaced without a gap. Setting `auth_tokens`.
    pub tokens: Option<PathBuf>,
    /// Lines of `tenant: name`, where the name is a URI or DNS name in a client's certificate (subject alternative
    /// name). Setting `auth_certificates`.
    pub certificates: Option<PathBuf>,
    /// Serve on a public address even without TLS and authentication. Setting `insecure`.
    pub insecure: bool,
    /// How long a change of a file may go unnoticed.
    pub reload_interval: Duration,
}

impl Default for ServerSecurity {
    fn default() -> Self {
        Self { tls: None, tokens: None, certificates: None, insecure: false, reload_interval: RELOAD_INTERVAL }
    }
}

impl ServerSecurity {
    /// Checks that the settings fit each other and the address.
    pub(crate) fn check(&self, address: SocketAddr) -> Result<(), ServiceError> {
        let has_client_ca = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if self.certificates.is_some() && !has_client_ca {
            return Err(wrong("auth_certificates", "needs tls_client_ca, which says whose certificates to believe"));
        }
        if self.tls.as_ref().is_some_and(|tls| tls.require_client_certificate) && !has_client_ca {
            return Err(wrong("tls_require_client_certificate", "needs tls_client_ca"));
        }
        if has_client_ca && !self.authenticates() {
            return Err(wrong(
                "tls_client_ca",
                "needs auth_certificates or auth_tokens, which say who is which tenant",
            ));
        }
        if address.ip().is_loopback() || self.insecure || (self.tls.is_some() && self.authenticates()) {
            return Ok(());
        }
        let missing = match (&self.tls, self.authenticates()) {
            (None, true) => "TLS (tls_certificate, tls_key)",
            (Some(_), false) => "authentication (auth_tokens or auth_certificates)",
            (None, _) => "TLS (tls_certificate, tls_key) and authentication (auth_tokens or auth_certificates)",
            (Some(_), true) => "nothing",
        };
        let why = format!("is {address}, which others can reach, without {missing}: set them, or insecure: true");
        Err(wrong("listen", &why))
    }

    /// True if callers must say who they are.
    pub(crate) const fn authenticates(&self) -> bool {
        self.tokens.is_some() || self.certificates.is_some()
    }
}

/// How a client shows who it is, and whom it believes. The default is plain text without a token, for this machine.
#[derive(Clone, Debug, Default)]
pub struct ClientSecurity {
    /// Who signs the certificates of servers; without it, whoever the system trusts. Only for `https://`.
    pub ca: Option<PathBuf>,
    /// The client's own certificate (PEM), and those above it.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// The name that the server's certificate must have, if it is not the host of the address.
    pub server_name: Option<String>,
    /// A bearer token, sent with every call.
    pub token: Option<TokenSource>,
    /// Send the token over plain text to another machine.
    pub insecure: bool,
}

/// A setting that cannot be.
pub(crate) fn wrong(setting: &str, why: &str) -> ServiceError {
    ServiceError::invalid("INVALID_SETTING", format!("{setting} {why}"))
}

#[cfg(test)]
mod tests;
