//! The shared HTTP client: certificates, HTTP/2, a proxy, bounds.
#![cfg(feature = "ring")]

use std::sync::Arc;
use std::time::Duration;

use chatwright_core::content::Part;
use chatwright_core::error::{Cause, Failure, TimeoutPhase};
use chatwright_core::model::{Message, ModelCall, ModelPart, Role};
use chatwright_core::port::LanguageModel;
use chatwright_fake::{FakeServer, Reply, Script};
use chatwright_providers::{HttpSettings, OpenAiChat};
use futures::StreamExt;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A certificate for `localhost` that nobody signed, and its key, for tests alone.
const CERTIFICATE: &[u8] = include_bytes!("tls/certificate.pem");
const KEY: &[u8] = include_bytes!("tls/key.pem");

async fn ask(settings: &HttpSettings, url: &str) -> Vec<ModelPart> {
    let client = settings.client().expect("valid settings");
    let model = OpenAiChat::builder("m").base_url(url).client(client).build().expect("a valid address");
    let hello = Message::new(Role::User, vec![Part::text("Hello")]);
    let parts = model.stream(ModelCall::new(vec![hello])).collect();
    tokio::time::timeout(Duration::from_secs(20), parts).await.expect("the call ends")
}

fn failure(parts: &[ModelPart]) -> &Failure {
    match parts {
        [ModelPart::Failure(failure)] => failure,
        other => panic!("one failure, not {other:?}"),
    }
}

async fn provider(reply: Reply) -> FakeServer {
    FakeServer::start(Script::new(vec![reply])).await.expect("a free port")
}

/// Speaks TLS in front of a server, and notes which protocol each connection agreed on.
struct Tls {
    url: String,
    agreed: Arc<Mutex<Vec<Option<String>>>>,
    _tasks: JoinSet<()>,
}

async fn tls(server: &FakeServer, protocols: &[&str]) -> Tls {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("the key is the certificate's");
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("https://localhost:{}/v1", listener.local_addr().expect("bound").port());
    let behind = server.base_url().trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    let agreed: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let notes = Arc::clone(&agreed);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, notes, behind) = (acceptor.clone(), Arc::clone(&notes), behind.clone());
            connections.spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let protocol =
                    stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
                notes.lock().push(protocol);
                let mut server = TcpStream::connect(behind).await.expect("the server listens");
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    Tls { url, agreed, _tasks: tasks }
}

fn trusting() -> HttpSettings {
    let mut settings = HttpSettings::default();
    settings.root_certificates = vec![CERTIFICATE.to_vec()];
    settings
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_trusted_and_no_other_is() {
    let server = provider(Reply::text("Hi")).await;
    let tls = tls(&server, &[]).await;
    assert!(matches!(ask(&trusting(), &tls.url).await.last(), Some(ModelPart::Finish(_))));
    let refused = ask(&HttpSettings::default(), &tls.url).await;
    assert_eq!(failure(&refused).cause, Cause::Tls, "{:?}", failure(&refused).message);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn http_2_is_spoken_where_a_server_offers_it_and_one_connection_serves_many_calls() {
    let server = provider(Reply::text("Hi")).await;
    for (offered, expected) in [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1"], "http/1.1")] {
        let tls = tls(&server, offered).await;
        let client = trusting().client().expect("valid settings");
        let model =
            OpenAiChat::builder("m").base_url(&tls.url).client(client).build().expect("a valid address");
        for _ in 0..3 {
            let hello = Message::new(Role::User, vec![Part::text("Hello")]);
            let parts: Vec<ModelPart> = model.stream(ModelCall::new(vec![hello])).collect().await;
            assert!(matches!(parts.last(), Some(ModelPart::Finish(_))), "{parts:?}");
        }
        assert_eq!(tls.agreed.lock().first(), Some(&Some(expected.to_owned())));
        if expected == "h2" {
            assert_eq!(tls.agreed.lock().len(), 1, "one connection");
        }
    }
}

#[tokio::test]
async fn every_request_goes_through_the_proxy_that_is_set() {
    let proxy = provider(Reply::text("Hi")).await;
    let mut settings = HttpSettings::default();
    settings.proxy = Some(proxy.base_url().trim_end_matches("/v1").into());
    let answer = ask(&settings, "http://provider.invalid/v1").await;
    assert!(matches!(answer.last(), Some(ModelPart::Finish(_))), "{answer:?}");
    assert_eq!(proxy.requests().remove(0).path, "http://provider.invalid/v1/chat/completions");
}

#[tokio::test]
async fn a_server_that_is_silent_for_longer_than_it_may_is_a_timeout() {
    let server = provider(Reply::text("Hi").delayed(Duration::from_secs(3_600))).await;
    let mut settings = HttpSettings::default();
    settings.idle_timeout = Duration::from_millis(50);
    let answer = ask(&settings, &server.base_url()).await;
    assert_eq!(failure(&answer).cause, Cause::Timeout(TimeoutPhase::Silence));
}
