//! The HTTP client that models share.

use std::fmt;
use std::time::Duration;

use reqwest::Client;

use crate::http::InvalidModel;

/// How models reach their providers. The client of the [default](Self::default) settings is what a model makes for itself.
///
/// The client keeps connections and uses them again, speaks HTTP/2 where a server offers it over TLS, never repeats a request, follows
/// no redirect, and honours `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` unless a proxy is set.
///
/// ```
/// use chatwright_providers::{HttpSettings, OpenAiChat};
///
/// let mut settings = HttpSettings::default();
/// settings.proxy = Some("http://proxy.example:3128".into());
/// let client = settings.client()?;
/// let model = OpenAiChat::builder("gpt-5-mini").client(client.clone()).build()?;
/// # Ok::<(), chatwright_providers::InvalidModel>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpSettings {
    /// How long making a connection may take. 10 s by default.
    pub connect_timeout: Duration,
    /// How long a server may be silent, before its answer and within it. 15 min by default: the bounds of the loop are
    /// shorter, and this one is for who asks a model without it.
    pub idle_timeout: Duration,
    /// How long a connection that nobody uses is kept. 90 s by default.
    pub pool_idle_timeout: Duration,
    /// How often a connection that says nothing is probed, by TCP and by pings of HTTP/2; one that does not answer within this
    /// time is closed. 30 s by default.
    pub keep_alive: Duration,
    /// The address of a proxy for every request, with its user and password if it wants them.
    pub proxy: Option<Box<str>>,
    /// Certificates to trust beside the usual ones: PEM, one or more in each.
    pub root_certificates: Vec<Vec<u8>>,
    /// Speaks HTTP/2 also where it is not negotiated, for servers on `http://`. Off by default.
    pub http2_only: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(15 * 60),
            pool_idle_timeout: Duration::from_secs(90),
            keep_alive: Duration::from_secs(30),
            proxy: None,
            root_certificates: Vec::new(),
            http2_only: false,
        }
    }
}

/// The proxy's address may hold a password.
impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings")
            .field("connect_timeout", &self.connect_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("pool_idle_timeout", &self.pool_idle_timeout)
            .field("keep_alive", &self.keep_alive)
            .field("proxy", &self.proxy.is_some())
            .field("root_certificates", &self.root_certificates.len())
            .field("http2_only", &self.http2_only)
            .finish()
    }
}

impl HttpSettings {
    /// A client for any number of models.
    ///
    /// # Errors
    /// [`InvalidModel::Proxy`], [`InvalidModel::Certificate`], [`InvalidModel::NoTls`] without the feature `ring`.
    pub fn client(&self) -> Result<Client, InvalidModel> {
        let mut builder = Client::builder()
            // By default requests that HTTP/2 refuses are sent again.
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.idle_timeout)
            .pool_idle_timeout(self.pool_idle_timeout)
            .tcp_keepalive(self.keep_alive)
            .http2_keep_alive_interval(self.keep_alive)
            .http2_keep_alive_timeout(self.keep_alive)
            .tcp_nodelay(true);
        if self.http2_only {
            builder = builder.http2_prior_knowledge();
        }
        if let Some(proxy) = &self.proxy {
            // The error would show the address.
            builder = builder.proxy(reqwest::Proxy::all(&**proxy).map_err(|_| InvalidModel::Proxy)?);
        }
        self.tls(builder)?.build().map_err(InvalidModel::Client)
    }

    /// The client's own TLS set-up would panic where no process-wide provider is installed, even for `http://`; so it always
    /// gets one.
    #[cfg(feature = "ring")]
    fn tls(&self, builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, InvalidModel> {
        use rustls::pki_types::{CertificateDer, pem::PemObject};

        let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for (index, pem) in self.root_certificates.iter().enumerate() {
            let invalid = |why: &dyn fmt::Display| InvalidModel::Certificate { index, why: why.to_string() };
            let known = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate.map_err(|error| invalid(&error))?).map_err(|error| invalid(&error))?;
            }
            if roots.len() == known {
                return Err(invalid(&"it holds none"));
            }
        }
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        // The client offers nothing of its own beside a set-up that it is given.
        config.alpn_protocols = match self.http2_only {
            true => vec![b"h2".to_vec()],
            false => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Ok(builder.tls_backend_preconfigured(config))
    }

    #[cfg(not(feature = "ring"))]
    fn tls(&self, _: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, InvalidModel> {
        Err(InvalidModel::NoTls)
    }
}

#[cfg(all(test, feature = "ring"))]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_used_say_which_and_show_no_password() {
        let refused = |settings: HttpSettings| settings.client().expect_err("refused").to_string();
        let proxy = HttpSettings { proxy: Some("://user:secret@".into()), ..HttpSettings::default() };
        assert!(!format!("{proxy:?}").contains("secret"));
        assert_eq!(refused(proxy), "the proxy's address is none of a server");
        let certified =
            |pem: &[u8]| HttpSettings { root_certificates: vec![pem.to_vec()], ..HttpSettings::default() };
        assert_eq!(refused(certified(b"no PEM")), "root certificate 0 cannot be used: it holds none");
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(refused(certified(broken)).starts_with("root certificate 0 cannot be used: "));
    }
}
