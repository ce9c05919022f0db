mod echo;
mod http1;
mod http2;
mod play;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::reply::Reply;
use crate::script::{FakeRequest, Script};
use crate::wire::Wire;

/// Most bytes of a request's body.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A provider on loopback that plays a [`Script`] in the wire format of what it is asked for: of Anthropic's Messages under
/// `…/messages`, of OpenAI's Responses under `…/responses`, of Google's Gemini at `…:streamGenerateContent`, and of OpenAI's Chat
/// Completions under any other path.
///
/// It speaks HTTP/1.1, and HTTP/2 to clients that begin with it (prior knowledge, without TLS). It stops when it is dropped.
pub struct FakeServer {
    address: SocketAddr,
    state: Arc<State>,
    _accepting: JoinSet<()>,
}

/// A request that the server got.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedRequest {
    /// The path.
    pub path: String,
    /// All headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Value,
}

struct State {
    script: Script,
    requests: Mutex<Vec<ReceivedRequest>>,
    streams: AtomicUsize,
    connections: AtomicUsize,
}

impl FakeServer {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// What the system reports.
    ///
    /// # Cancel safety
    /// Safe: a dropped start leaves nothing behind.
    pub async fn start(script: Script) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            script,
            requests: Mutex::default(),
            streams: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        });
        let mut accepting = JoinSet::new();
        let shared = Arc::clone(&state);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((stream, _)) = accepted {
                            let state = Arc::clone(&shared);
                            state.connections.fetch_add(1, Ordering::SeqCst);
                            // A connection that breaks is the client's business.
                            connections.spawn(async move { drop(serve(stream, &state).await) });
                        }
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { address, state, _accepting: accepting })
    }

    /// The base address of the API, for example `http://127.0.0.1:40404/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.state.requests.lock().clone()
    }

    /// How many connections it has accepted so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How many replies are being streamed.
    pub fn open_streams(&self) -> usize {
        self.state.streams.load(Ordering::SeqCst)
    }
}

impl State {
    /// Takes a request in; gives what to answer, and in which format.
    fn reply(&self, request: &ReceivedRequest) -> (Reply, Wire) {
        let wire = Wire::of(&request.path);
        let messages = wire.messages(&request.body);
        let number = {
            let mut requests = self.requests.lock();
            requests.push(request.clone());
            requests.len() - 1
        };
        let reply = self.script.reply(&FakeRequest { number, messages });
        let reply = if reply.echoes { echo::echo(reply, request) } else { reply };
        (reply, wire)
    }
}

/// Counts a stream as long as it lives.
struct Streaming(Arc<State>);

impl Streaming {
    fn begin(state: &Arc<State>) -> Self {
        state.streams.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(stream: TcpStream, state: &Arc<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    // No method of HTTP/1.1 is called so. The preface comes with the first bytes.
    if stream.fill_buf().await?.starts_with(b"PRI ") {
        http2::serve(stream, state).await
    } else {
        http1::serve(stream, state).await
    }
}

/// A body as a script reads it.
fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}
