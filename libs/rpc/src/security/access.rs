use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_api::{Caller, ServiceError};
use sha2::{Digest as _, Sha256};

use super::{ServerSecurity, wrong};

/// Fewest characters of a token.
const TOKEN_LENGTH: usize = 16;
const TENANT_LENGTH: usize = 64;

/// What a caller shows.
#[derive(Clone, Copy)]
pub(crate) enum Identity<'a> {
    /// A bearer token.
    Token(&'a [u8]),
    /// The names of a certificate that was verified.
    Certificate(&'a [String]),
}

/// Who is which tenant.
#[derive(Default)]
pub(crate) struct Access {
    /// By digest: what is compared tells nothing about the token.
    tokens: Vec<([u8; 32], Arc<str>)>,
    certificates: HashMap<String, Arc<str>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

impl Access {
    /// The files to watch.
    pub(crate) fn files(security: &ServerSecurity) -> Vec<PathBuf> {
        security.tokens.iter().chain(&security.certificates).cloned().collect()
    }

    /// Reads them.
    pub(crate) fn read(security: &ServerSecurity) -> Result<Self, ServiceError> {
        let mut access = Self::default();
        if let Some(path) = &security.tokens {
            for line in lines("auth_tokens", path)? {
                if line.value.chars().count() < TOKEN_LENGTH {
                    return Err(line.wrong(&format!("the token has fewer than {TOKEN_LENGTH} characters")));
                }
                let digest = digest(line.value.as_bytes());
                if access.tokens.iter().any(|(other, tenant)| *other == digest && **tenant != *line.tenant) {
                    return Err(line.wrong("another tenant has the same token"));
                }
                access.tokens.push((digest, line.tenant.as_str().into()));
            }
        }
        if let Some(path) = &security.certificates {
            for line in lines("auth_certificates", path)? {
                let tenant: Arc<str> = line.tenant.as_str().into();
                let other = access.certificates.insert(line.value.clone(), Arc::clone(&tenant));
                if other.is_some_and(|other| other != tenant) {
                    return Err(line.wrong("another tenant has the same name"));
                }
            }
        }
        Ok(access)
    }

    /// Whose it is; none if nobody's. Takes as long for a token that is wrong at its first character as for one that
    /// is wrong at its last.
    pub(crate) fn tenant(&self, identity: Identity<'_>) -> Option<Arc<str>> {
        match identity {
            Identity::Token(token) => {
                let shown = digest(token);
                let mut found = None;
                for (known, tenant) in &self.tokens {
                    if known.iter().zip(&shown).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0 {
                        found = Some(Arc::clone(tenant));
                    }
                }
                found
            }
            Identity::Certificate(names) => names.iter().find_map(|name| self.certificates.get(name).cloned()),
        }
    }
}

/// A line of `tenant: value`.
struct Line {
    place: String,
    tenant: String,
    value: String,
}

impl Line {
    fn wrong(&self, why: &str) -> ServiceError {
        wrong(&self.place, why)
    }
}

/// The lines of a file. Errors tell the line's number and nothing of its content: it may be a token in a wrong place.
fn lines(setting: &str, path: &Path) -> Result<Vec<Line>, ServiceError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(setting, &format!("'{}' cannot be read: {error}", path.display())))?;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{setting}, '{}' line {number}:", path.display());
        let (tenant, value) =
            line.split_once(':').ok_or_else(|| wrong(&place, "there is no colon: write tenant: value"))?;
        let (tenant, value) = (unquoted(tenant), unquoted(value));
        let is_name = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
        // It becomes the name of a folder.
        let is_hidden = tenant.is_empty() || tenant.starts_with('.');
        if is_hidden || tenant.len() > TENANT_LENGTH || !tenant.chars().all(is_name) {
            let why =
                format!("a tenant's name has 1 to {TENANT_LENGTH} of a-z, 0-9, '-', '_' and '.', and no '.' first");
            return Err(wrong(&place, &why));
        }
        if tenant == Caller::LOCAL {
            return Err(wrong(&place, "the tenant 'local' is whoever calls in the same process: take another name"));
        }
        if value.is_empty() {
            return Err(wrong(&place, "nothing comes after the colon"));
        }
        lines.push(Line { place, tenant: tenant.to_owned(), value: value.to_owned() });
    }
    if lines.is_empty() {
        return Err(wrong(setting, &format!("'{}' has no line of tenant: value", path.display())));
    }
    Ok(lines)
}

/// As YAML has it, so that such a file can be written either way.
fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inner = |quote: char| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}
