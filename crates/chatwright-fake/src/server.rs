use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::reply::Reply;
use crate::script::{FakeRequest, Script};
use crate::step::Step;
use crate::wire::Wire;

/// Most bytes of a request's body.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A provider on loopback that plays a [`Script`] in the wire format of what it is asked for: of Anthropic's Messages under
/// `…/messages`, of OpenAI's Responses under `…/responses`, of Google's Gemini at `…:streamGenerateContent`, and of OpenAI's Chat
/// Completions under any other path. It stops when it is dropped.
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

/// Counts a stream as long as it lives.
struct Streaming<'a>(&'a State);

impl Drop for Streaming<'_> {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    while let Some(request) = receive(&mut read).await? {
        let wire = Wire::of(&request.path);
        let messages = wire.messages(&request.body);
        let number = {
            let mut requests = state.requests.lock();
            requests.push(request);
            requests.len() - 1
        };
        let reply = state.script.reply(&FakeRequest { number, messages });
        state.streams.fetch_add(1, Ordering::SeqCst);
        let streaming = Streaming(state);
        // A client that goes away ends the reply, stalled or not.
        let goes_on = tokio::select! {
            sent = send(&reply, wire, &mut write) => sent?,
            _ = gone(&mut read) => false,
        };
        drop(streaming);
        if !goes_on {
            return Ok(());
        }
    }
    Ok(())
}

async fn receive(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<ReceivedRequest>> {
    let mut line = String::new();
    if read.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let path = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        read.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length =
        headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0).min(BODY_BYTES_MAX)];
    read.read_exact(&mut body).await?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Some(ReceivedRequest { path, headers, body }))
}

/// Resolves when the client has closed its side.
async fn gone(read: &mut BufReader<OwnedReadHalf>) {
    while read.fill_buf().await.is_ok_and(|bytes| !bytes.is_empty()) {
        // A request ahead of its time; it waits in the buffer.
        std::future::pending::<()>().await;
    }
}

/// Sends a reply; gives whether the connection may go on.
async fn send(reply: &Reply, mut wire: Wire, write: &mut OwnedWriteHalf) -> io::Result<bool> {
    tokio::time::sleep(reply.delay).await;
    let usual = if reply.body.is_some() { "application/json" } else { "text/event-stream" };
    let mut head = format!("HTTP/1.1 {} Fake\r\n", reply.status);
    if !reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        head += &format!("content-type: {usual}\r\n");
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if let Some(body) = &reply.body {
        head += &format!("content-length: {}\r\n\r\n{body}", body.len());
        write.write_all(head.as_bytes()).await?;
        return Ok(true);
    }
    head +=
        if reply.until_close { "connection: close\r\n\r\n" } else { "transfer-encoding: chunked\r\n\r\n" };
    write.write_all(head.as_bytes()).await?;
    let left = reply.cut_after.unwrap_or(usize::MAX);
    let mut body = Body { left, piece_bytes: reply.piece_bytes, chunked: !reply.until_close, write };
    for step in &reply.steps {
        match step {
            Step::Pause(time) => tokio::time::sleep(*time).await,
            Step::Stall => std::future::pending().await,
            Step::Bytes(bytes) => body.send(bytes).await?,
            step => {
                for event in wire.events(step) {
                    body.send(event.as_bytes()).await?;
                }
            }
        }
        if body.left == 0 {
            // The chunked body has no end: the connection just closes.
            write.shutdown().await?;
            return Ok(false);
        }
    }
    if reply.until_close {
        write.shutdown().await?;
        return Ok(false);
    }
    write.write_all(b"0\r\n\r\n").await?;
    Ok(true)
}

struct Body<'a> {
    left: usize,
    piece_bytes: usize,
    chunked: bool,
    write: &'a mut OwnedWriteHalf,
}

impl Body<'_> {
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes = &bytes[..bytes.len().min(self.left)];
        self.left -= bytes.len();
        let size = if self.piece_bytes == 0 { bytes.len().max(1) } else { self.piece_bytes };
        for piece in bytes.chunks(size) {
            if self.chunked {
                let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
                self.write.write_all(&chunk).await?;
            } else {
                self.write.write_all(piece).await?;
            }
            self.write.flush().await?;
            // Let the client read it by itself.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
