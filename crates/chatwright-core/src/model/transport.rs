use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::port::HttpObserver;

/// How one call travels. A model that is not asked over HTTP ignores it.
#[derive(Clone, Default)]
pub struct Transport {
    /// A key in place of the model's own. Whoever answers for many keys should rather make a model for each: the calls of
    /// a model wait together where its provider says to wait.
    pub key: Option<SecretString>,
    /// A base address in place of the model's own. The model's key and headers are never sent to another origin.
    pub base_url: Option<Box<str>>,
    /// Further request headers.
    pub headers: Headers,
    /// Sees the raw request and the raw response.
    pub observer: Option<Arc<dyn HttpObserver>>,
}

/// Shows what is set, and no address, key or value.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("key", &self.key.is_some())
            .field("base_url", &self.base_url.is_some())
            .field("headers", &self.headers)
            .field("observer", &self.observer.is_some())
            .finish()
    }
}

/// Observers are equal if they are the same one.
impl PartialEq for Transport {
    fn eq(&self, other: &Self) -> bool {
        let key = |transport: &Self| transport.key.as_ref().map(|key| key.expose_secret().to_owned());
        let observers = match (&self.observer, &other.observer) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        observers
            && key(self) == key(other)
            && self.base_url == other.base_url
            && self.headers == other.headers
    }
}

/// Request headers. `Debug` shows names and no values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(Box<str>, Box<str>)>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_in_a_transport_is_not_printed() {
        let transport = Transport {
            key: Some("sk-secret".into()),
            base_url: Some("https://u:secret@host".into()),
            headers: Headers(vec![("x-key".into(), "secret".into())]),
            observer: None,
        };
        let printed = format!("{transport:?}");
        assert!(printed.contains("x-key") && !printed.contains("secret"), "{printed}");
    }

    #[test]
    fn transports_are_equal_if_all_of_them_is() {
        let keyed = Transport { key: Some("a".into()), ..Transport::default() };
        assert_eq!(keyed, keyed.clone());
        assert_ne!(keyed, Transport { key: Some("b".into()), ..Transport::default() });
        assert_ne!(keyed, Transport::default());
        assert_ne!(Transport { base_url: Some("b".into()), ..Transport::default() }, Transport::default());
    }
}
