use std::path::Path;
use std::sync::Arc;

use forebay_api::ServiceError;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::{ClientSecurity, ServerTls, wrong};

const HTTP_2: &[u8] = b"h2";

/// Named, because other crates of the tree bring a second one, and a process-wide default would then be a guess.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ServiceError> {
    let unreadable = |why: String| wrong(setting, &format!("'{}' cannot be read: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(unreadable("it holds no certificate in PEM".to_owned()));
    }
    Ok(certificates)
}

fn key(setting: &str, path: &Path) -> Result<PrivateKeyDer<'static>, ServiceError> {
    // The parser's error does not hold what it read.
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| wrong(setting, &format!("'{}' holds no private key in PEM: {error}", path.display())))
}

fn roots(setting: &str, path: &Path) -> Result<RootCertStore, ServiceError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(setting, path)? {
        let added = roots.add(certificate);
        added.map_err(|error| wrong(setting, &format!("'{}' is of no use: {error}", path.display())))?;
    }
    Ok(roots)
}

/// How a server speaks TLS. Between our own services 1.3 is all there is; clients may be older.
pub(crate) fn server_config(tls: &ServerTls, for_clients: bool) -> Result<ServerConfig, ServiceError> {
    let versions: &[&SupportedProtocolVersion] =
        if for_clients { &[&version::TLS13, &version::TLS12] } else { &[&version::TLS13] };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|error| ServiceError::internal(format!("TLS cannot be set up: {error}")))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots("tls_client_ca", path)?), provider());
            let verifier =
                if tls.require_client_certificate { verifier } else { verifier.allow_unauthenticated() }.build();
            let verifier = verifier
                .map_err(|error| wrong("tls_client_ca", &format!("'{}' is of no use: {error}", path.display())))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (chain, key) = (certificates("tls_certificate", &tls.certificate)?, key("tls_key", &tls.key)?);
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        let why = format!("'{}' and '{}' do not fit: {error}", tls.certificate.display(), tls.key.display());
        wrong("tls_certificate, tls_key:", &why)
    })?;
    config.alpn_protocols.push(HTTP_2.to_vec());
    Ok(config)
}

/// How a client speaks TLS.
pub(crate) fn client_config(security: &ClientSecurity) -> Result<ClientConfig, ServiceError> {
    let roots = match &security.ca {
        Some(path) => roots("CA file", path)?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| ServiceError::internal(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots);
    let mut config = match (&security.certificate, &security.key) {
        (Some(certificate), Some(key_file)) => {
            let (chain, key) = (certificates("client certificate", certificate)?, key("client key", key_file)?);
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                let why = format!("'{}' and '{}' do not fit: {error}", certificate.display(), key_file.display());
                wrong("client certificate and key:", &why)
            })?
        }
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) | (None, Some(_)) => {
            return Err(wrong("client certificate and key", "belong together: set both, or none"));
        }
    };
    config.alpn_protocols.push(HTTP_2.to_vec());
    Ok(config)
}

fn system_roots() -> Result<RootCertStore, ServiceError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        return Err(wrong("CA file", "is not set, and the system trusts nobody: name one, or install ca-certificates"));
    }
    Ok(roots)
}

/// The names of a certificate's owner: its URIs, then its DNS names.
pub(crate) fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    // It was parsed in the handshake.
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    certificate.valid_uri_names().chain(certificate.valid_dns_names()).map(str::to_owned).collect()
}
