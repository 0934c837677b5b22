use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::ring::KEY_LEN;
use crate::{Keyring, SealError};

/// Where a process has its keys from.
#[derive(Clone, Debug)]
pub struct Keys(Arc<Source>);

#[derive(Debug)]
enum Source {
    None,
    Given(Keyring),
    /// The user's own file, which is made when it is needed first.
    Home {
        path: PathBuf,
        ring: OnceLock<Keyring>,
    },
}

/// The user's own file of keys, if the environment says where the user's files are.
pub fn home() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(base.join("forebay/key"))
}

impl Keys {
    /// No key: whatever needs one is refused, with what to do.
    pub fn none() -> Self {
        Self(Arc::new(Source::None))
    }

    /// Keys that a person has given: as text, or in a file, or else none.
    ///
    /// # Errors
    /// [`SealError::KeyFile`] and [`SealError::BadKey`].
    pub fn given(text: Option<&str>, file: Option<&Path>) -> Result<Option<Self>, SealError> {
        let ring = match (text, file) {
            (Some(text), _) => Keyring::parse(text, "FOREBAY_KEYS")?,
            (None, Some(path)) => read(path)?,
            (None, None) => return Ok(None),
        };
        Ok(Some(Self(Arc::new(Source::Given(ring)))))
    }

    /// Keys in a file of the user's own, which is made, for nobody else to read, when something is encrypted first.
    pub fn at_home(path: PathBuf) -> Self {
        Self(Arc::new(Source::Home { path, ring: OnceLock::new() }))
    }

    /// The keys to encrypt with.
    ///
    /// # Errors
    /// [`SealError::NoKey`], with the remedy; or why the user's file can't be made.
    pub fn sealing(&self) -> Result<&Keyring, SealError> {
        match &*self.0 {
            Source::Home { path, ring } if ring.get().is_none() && !path.exists() => {
                make(path)?;
                tracing::warn!(
                    path = %path.display(),
                    "made a key that encrypts protected records while they wait, and rejected ones: keep a copy of it"
                );
                self.opening()
            }
            Source::None | Source::Given(_) | Source::Home { .. } => self.opening(),
        }
    }

    /// The keys to decrypt with.
    ///
    /// # Errors
    /// [`SealError::NoKey`], with the remedy; or why the user's file can't be read.
    pub fn opening(&self) -> Result<&Keyring, SealError> {
        match &*self.0 {
            Source::None => Err(SealError::NoKey),
            Source::Given(ring) => Ok(ring),
            Source::Home { path, ring } => match ring.get() {
                Some(ring) => Ok(ring),
                None if path.exists() => {
                    let known = read(path)?;
                    Ok(ring.get_or_init(|| known))
                }
                None => Err(SealError::NoKey),
            },
        }
    }
}

fn read(path: &Path) -> Result<Keyring, SealError> {
    let fail = |error: std::io::Error| SealError::KeyFile { path: path.to_owned(), message: error.to_string() };
    let text = Zeroizing::new(fs::read_to_string(path).map_err(fail)?);
    let mode = fs::metadata(path).map_err(fail)?.permissions().mode();
    if mode & 0o007 != 0 {
        tracing::warn!(path = %path.display(), "everybody may read the file of keys: chmod 600 it");
    }
    Keyring::parse(&text, &path.display().to_string())
}

/// Makes a file with a new key, unless another process is first. It is there whole or not at all.
fn make(path: &Path) -> Result<(), SealError> {
    let mut key = Zeroizing::new([0u8; KEY_LEN]);
    rand::fill(key.as_mut_slice()).map_err(|_| SealError::NoRandom)?;
    let text: Zeroizing<String> = Zeroizing::new(key.iter().map(|byte| format!("{byte:02x}")).collect());
    let write = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let draft = folder.join(format!(".key-{}", std::process::id()));
        let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        writeln!(file, "# forebay: encrypts protected records while they wait, and rejected ones")?;
        writeln!(file, "{}", text.as_str())?;
        file.sync_all()?;
        let linked = fs::hard_link(&draft, path);
        fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked.and_then(|()| fs::File::open(folder)?.sync_all()),
        }
    };
    write().map_err(|error| SealError::KeyFile {
        path: path.to_owned(),
        message: format!("it can't be made ({error}): set FOREBAY_KEY_FILE to one that can be read"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_key_is_made_once_and_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/key");
        let keys = Keys::at_home(path.clone());
        assert_eq!(keys.opening().unwrap_err(), SealError::NoKey);
        let sealed = keys.sealing().unwrap().seal("a", b"Ana").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Keys::at_home(path.clone()).sealing().unwrap().open("a", &sealed).unwrap(), b"Ana");
        let given = Keys::given(None, Some(&path)).unwrap().unwrap();
        assert_eq!(given.opening().unwrap().open("a", &sealed).unwrap(), b"Ana");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let text = fs::read_to_string(&path).unwrap();
        let shown = format!("{keys:?} {given:?}");
        assert!(text.lines().skip(1).all(|key| !shown.contains(key)), "{shown}");
    }

    #[test]
    fn without_a_key_the_remedy_is_told() {
        let error = Keys::none().sealing().unwrap_err().to_string();
        assert!(error.contains("FOREBAY_KEY_FILE") && error.contains("urandom"), "{error}");
        let error = Keys::given(None, Some(Path::new("/nowhere/key"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/key"), "{error}");
    }
}
