//! Takes secrets out of what is written down.
//!
//! A [`Redactor`] knows secrets by their names ([`Rules`]), by their looks, and by their values: those that a host
//! [registers](Redactor::register) and those that a request [sent](Redactor::for_exchange). It goes through headers,
//! addresses, JSON, server-sent events, and text; what holds no secret stays byte for byte. It never panics, and its time is
//! linear in the length of what it reads.
//!
//! ```
//! use chatwright_debug::redact::{Redactor, Rules};
//! use secrecy::SecretString;
//!
//! let redactor = Redactor::new(&Rules::default())?;
//! redactor.register(&SecretString::from("correct horse"))?;
//! assert_eq!(
//!     redactor.json(r#"{"api_key": 7, "max_tokens": 1e2, "say": "correct\u0020horse"}"#),
//!     r#"{"api_key": "[REDACTED]", "max_tokens": 1e2, "say": "[REDACTED]"}"#,
//! );
//! assert_eq!(redactor.url("https://me:pw@h/v1?key=1&n=2"), "https://h/v1?key=%5BREDACTED%5D&n=2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod body;
mod detect;
mod edit;
mod escape;
mod headers;
mod json;
mod names;
mod rules;
mod scan;
mod secrets;
mod sse;
mod text;
mod value;

use std::sync::Arc;

use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretString};

pub use body::{COMPRESSED, Captured, Redacted};
pub use edit::MARK;
pub use json::{EXTRA_JSON, NOT_JSON};
pub use rules::{InvalidRules, Rules};
pub use secrets::{InvalidSecret, SECRET_BYTES_MAX, SECRET_BYTES_MIN, SECRETS_MAX};

use edit::Edit;
use names::Names;
use secrets::Secrets;

/// So many bytes beside a gap may go because they could be a part of a secret.
pub const EDGE_BYTES_MAX: usize = 512;

/// Takes out secrets. Clones share what is registered.
#[derive(Clone, Debug)]
pub struct Redactor {
    inner: Arc<Inner>,
    /// Secrets of one exchange.
    scoped: Arc<Secrets>,
}

#[derive(Debug)]
struct Inner {
    rules: Rules,
    names: Names,
    registered: RwLock<Arc<Secrets>>,
}

impl Redactor {
    /// By these rules, without known secrets.
    ///
    /// # Errors
    ///
    /// A pattern that means nothing, or too many of them.
    pub fn new(rules: &Rules) -> Result<Self, InvalidRules> {
        let inner = Inner { rules: rules.clone(), names: Names::new(rules)?, registered: RwLock::default() };
        Ok(Self { inner: Arc::new(inner), scoped: Arc::default() })
    }

    /// From now on this secret goes wherever it occurs: as it is and as JSON, addresses, HTML and base64 write it.
    ///
    /// # Errors
    ///
    /// A secret of less than [`SECRET_BYTES_MIN`] or more than [`SECRET_BYTES_MAX`] bytes, or more than [`SECRETS_MAX`].
    pub fn register(&self, secret: &SecretString) -> Result<(), InvalidSecret> {
        self.register_all([secret])
    }

    /// Like [`register`](Self::register), for many at once: each registration takes time for all secrets.
    ///
    /// # Errors
    ///
    /// If one cannot be registered, none is.
    pub fn register_all<'a>(
        &self,
        secrets: impl IntoIterator<Item = &'a SecretString>,
    ) -> Result<(), InvalidSecret> {
        let secrets: Vec<&str> = secrets.into_iter().map(ExposeSecret::expose_secret).collect();
        let mut registered = self.inner.registered.write();
        *registered = Arc::new(registered.with(secrets)?);
        Ok(())
    }

    /// This value is no secret any more. Says whether it was registered.
    pub fn forget(&self, secret: &SecretString) -> bool {
        let mut registered = self.inner.registered.write();
        let Some(without) = registered.without(secret.expose_secret()) else { return false };
        *registered = Arc::new(without);
        true
    }

    /// One that knows more secrets, and whatever is registered here. What is too short or too long for a secret is not
    /// looked for, nor is one beyond [`SECRETS_MAX`].
    #[must_use]
    pub fn with_secrets<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let room = SECRETS_MAX - self.scoped.len();
        let valid = secrets.into_iter().filter(|secret| secrets::check(secret).is_ok()).take(room);
        let scoped = self.scoped.with(valid).expect("as many as fit, none too short or too long");
        Self { inner: self.inner.clone(), scoped: Arc::new(scoped) }
    }

    fn registered(&self) -> Arc<Secrets> {
        self.inner.registered.read().clone()
    }

    fn known(&self, text: &[u8], edits: &mut Vec<Edit>) {
        self.registered().mark(text, edits);
        self.scoped.mark(text, edits);
    }

    fn knows(&self, text: &str) -> bool {
        self.registered().is_in(text) || self.scoped.is_in(text)
    }

    /// How many bytes at the end of a text are the beginning of a known secret that goes on elsewhere.
    fn begun(&self, text: &str) -> usize {
        let size = self.registered().begun(text.as_bytes()).max(self.scoped.begun(text.as_bytes()));
        (size..text.len()).find(|size| text.is_char_boundary(text.len() - size)).unwrap_or(size)
    }

    /// How many bytes at the start of a text are the end of a known secret that began elsewhere.
    fn ended(&self, text: &str) -> usize {
        let size = self.registered().ended(text.as_bytes()).max(self.scoped.ended(text.as_bytes()));
        (size..text.len()).find(|size| text.is_char_boundary(*size)).unwrap_or(size)
    }

    fn begun_bytes(&self, bytes: &[u8]) -> usize {
        self.registered().begun(bytes).max(self.scoped.begun(bytes))
    }

    fn ended_bytes(&self, bytes: &[u8]) -> usize {
        self.registered().ended(bytes).max(self.scoped.ended(bytes))
    }

    fn is_secret_name(&self, name: &str) -> bool {
        self.inner.names.is_secret(name)
    }

    fn is_secret_itself(&self, name: &str) -> bool {
        let mut edits = Vec::new();
        self.find(name, 0, &mut edits);
        !edits.is_empty()
    }
}
