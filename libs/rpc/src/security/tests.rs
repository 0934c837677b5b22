use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use tempfile::NamedTempFile;

use super::*;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn with_tokens(path: &Path) -> ServerSecurity {
    ServerSecurity { tokens: Some(path.to_owned()), ..ServerSecurity::default() }
}

fn tls() -> ServerTls {
    ServerTls {
        certificate: "server.pem".into(),
        key: "server.key".into(),
        client_ca: None,
        require_client_certificate: false,
    }
}

#[test]
fn a_tenant_may_have_several_tokens_and_each_belongs_to_one() {
    let tokens =
        file("# who may call\nacme: 0123456789abcdef\n\n\"acme\": 'fedcba9876543210'\nother.co: a:b:c:d:e:f:g:h:i\n");
    let access = Access::read(&with_tokens(tokens.path())).unwrap();
    let tenant = |token: &str| access.tenant(Identity::Token(token.as_bytes()));
    assert_eq!(tenant("0123456789abcdef").as_deref(), Some("acme"));
    assert_eq!(tenant("fedcba9876543210").as_deref(), Some("acme"));
    assert_eq!(tenant("a:b:c:d:e:f:g:h:i").as_deref(), Some("other.co"));
    for wrong in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef0"] {
        assert_eq!(tenant(wrong), None, "{wrong}");
    }
    assert!(!format!("{access:?}").contains("0123456789"));
}

#[test]
fn what_is_wrong_in_a_file_is_named_without_its_content() {
    for (text, what) in [
        ("acme: canary", "line 1: the token has fewer than 16"),
        ("\ncanary canary canary", "line 2: there is no colon"),
        ("Canary Name: 0123456789abcdef", "line 1: a tenant's name"),
        ("local: canary0123456789", "line 1: the tenant 'local'"),
        ("acme:", "line 1: nothing comes after the colon"),
        ("a: canary0123456789\nb: canary0123456789", "line 2: another tenant has the same token"),
        ("# nothing", "has no line"),
    ] {
        let tokens = file(text);
        let error = Access::read(&with_tokens(tokens.path())).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("auth_tokens"), "{error}");
        assert!(error.contains(tokens.path().to_str().unwrap()), "{error}");
        assert!(!error.to_lowercase().contains("canary"), "{error}");
    }
    let error = Access::read(&with_tokens(Path::new("/nowhere/tokens"))).unwrap_err().to_string();
    assert!(error.contains("auth_tokens") && error.contains("'/nowhere/tokens' cannot be read"), "{error}");
}

#[test]
fn a_public_address_needs_tls_and_authentication() {
    let (public, loopback) = ("0.0.0.0:7420".parse().unwrap(), "127.0.0.1:7420".parse().unwrap());
    let open = ServerSecurity::default();
    let only_tls = ServerSecurity { tls: Some(tls()), ..open.clone() };
    let only_tokens = with_tokens(Path::new("t"));
    let both = ServerSecurity { tls: Some(tls()), ..only_tokens.clone() };
    for (security, missing) in [(&open, "TLS (tls"), (&only_tls, "authentication"), (&only_tokens, "TLS (tls")] {
        security.check(loopback).unwrap();
        let error = security.check(public).unwrap_err().to_string();
        assert!(error.contains("listen is 0.0.0.0:7420") && error.contains(missing), "{error}");
        ServerSecurity { insecure: true, ..security.clone() }.check(public).unwrap();
    }
    both.check(public).unwrap();
}

#[test]
fn settings_that_need_each_other_say_so() {
    let loopback = "[::1]:1".parse().unwrap();
    let required = ServerTls { require_client_certificate: true, ..tls() };
    let believed = ServerTls { client_ca: Some("ca.pem".into()), ..tls() };
    let open = ServerSecurity::default();
    for (security, setting) in [
        (ServerSecurity { certificates: Some("c".into()), ..open.clone() }, "auth_certificates needs"),
        (ServerSecurity { tls: Some(required), ..open.clone() }, "tls_require_client_certificate needs"),
        (ServerSecurity { tls: Some(believed), ..open }, "tls_client_ca needs"),
    ] {
        let error = security.check(loopback).unwrap_err().to_string();
        assert!(error.contains(setting), "{error}");
    }
}

#[test]
fn a_file_that_changes_is_read_again_and_a_broken_one_is_not_taken() {
    let tokens = file("acme: 0123456789abcdef\n");
    let security = with_tokens(tokens.path());
    let access = Reloading::new(Access::files(&security), Duration::ZERO, move || Access::read(&security)).unwrap();
    let knows = |token: &str| access.current().tenant(Identity::Token(token.as_bytes())).is_some();
    assert!(knows("0123456789abcdef"));
    std::fs::write(tokens.path(), "acme: fedcba9876543210 and more\n").unwrap();
    assert!(knows("fedcba9876543210 and more") && !knows("0123456789abcdef"));
    std::fs::write(tokens.path(), "half writ").unwrap();
    assert!(knows("fedcba9876543210 and more"));
    std::fs::write(tokens.path(), "acme: 0123456789abcdef\n").unwrap();
    assert!(knows("0123456789abcdef"));
}

#[test]
fn a_secret_is_not_shown() {
    let token = file("  canary \n");
    let secret = Secret::from_file("token", token.path()).unwrap();
    assert_eq!(secret.expose(), "canary");
    let source = TokenSource::Value(secret.clone());
    let security = ClientSecurity { token: Some(source), ..ClientSecurity::default() };
    assert!(!format!("{secret:?} {security:?}").contains("canary"));
    let error = Secret::from_env("token", "FOREBAY_NO_SUCH_VARIABLE").unwrap_err().to_string();
    assert!(error.contains("set the environment variable FOREBAY_NO_SUCH_VARIABLE"), "{error}");
}
