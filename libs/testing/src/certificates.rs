//! Certificates of a day, made by the test.

#![expect(clippy::unwrap_used, reason = "without a certificate a test can't go on, and says why")]

use std::path::PathBuf;

use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use tempfile::TempDir;

/// Somebody whose signature is believed, and a folder for what they sign.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub struct Signed {
    /// File with the certificate.
    pub certificate: PathBuf,
    /// File with its private key.
    pub key: PathBuf,
}

impl Authority {
    /// Somebody new, whom nobody knows yet.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "a test's authority");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), folder }
    }

    /// Its own certificate.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for a server on this machine.
    pub fn server(&self) -> Signed {
        self.sign("server", CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap())
    }

    /// A certificate for a client whose name is a URI.
    pub fn client(&self, uri: &str) -> Signed {
        self.sign(&uri.replace(['/', ':'], "_"), client(uri))
    }

    /// One whose time is over.
    pub fn expired_client(&self, uri: &str) -> Signed {
        let mut params = client(uri);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 2);
        self.sign("expired", params)
    }

    fn sign(&self, name: &str, params: CertificateParams) -> Signed {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |extension: &str| self.folder.path().join(format!("{name}.{extension}"));
        let signed = Signed { certificate: path("pem"), key: path("key") };
        std::fs::write(&signed.certificate, certificate.pem()).unwrap();
        std::fs::write(&signed.key, key.serialize_pem()).unwrap();
        signed
    }
}

fn client(uri: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri).unwrap()));
    params
}
